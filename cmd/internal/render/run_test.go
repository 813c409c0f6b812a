package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

func showRun(p *plan.Plan) Details {
	return Details{RunDetails: engine.RunDetails{Plan: p, Records: failedMount(), Summary: journal.Summary{
		Meta: journal.Meta{Run: "20260301T040000000-a1b2", Version: "1.2.0", InstanceID: "i-0c2d", BootID: "5e1f", Digest: "d1ge57",
			Created: t0, Ended: t0.Add(105 * time.Second), Outcome: journal.RunFailed, Error: "cannot attach vol-0bbb"},
		Operation: "mount", Snapshotter: "solr", Claims: []string{"mount:/srv/db"}}}}
}

func TestSummary(t *testing.T) {
	mount := mountPlan(t)
	failed := failedEnd(mount)
	golden(t, "summary-failed.txt", func(w io.Writer) error { return Summary(w, failed, Style{Unicode: true, Width: 140}) })
	golden(t, "summary-failed-narrow.txt", func(w io.Writer) error { return Summary(w, failed, Style{Width: 60}) })
	golden(t, "summary-failed.json", func(w io.Writer) error { return SummaryJSON(w, failed) })

	kept := failed
	kept.Rollback = true
	kept.Result.Outcome, kept.Result.Failures = journal.RolledBack, nil
	kept.Result.Kept = []string{"vol-0aaa (20 GiB) held data of /srv"}
	kept.Records = failedMount()
	r := kept.Records["create-volume:/srv"]
	r.Undo, r.Note = journal.Kept, "vol-0aaa held data of /srv"
	kept.Records["create-volume:/srv"] = r
	r = kept.Records["create-volume:/srv/db"]
	r.Undo = journal.Undone
	kept.Records["create-volume:/srv/db"] = r
	golden(t, "summary-rolled-back.txt", func(w io.Writer) error { return Summary(w, kept, pretty) })

	snap := RunResult{RunResult: engine.RunResult{Run: "20260301T040000000-c3d4", Plan: snapshotPlan(t), Took: 3 * time.Second, Result: runner.Result{Outcome: journal.RunDone,
		Records: map[plan.StepID]journal.Record{
			"find-volume:/a": done(0, 0, "", `{"volume_id":"vol-0aaa","device":"/dev/sdf","mount_point":"/a","snapshot_id":"snap-0old"}`),
			"find-volume:/b": done(0, 0, "", `{"volume_id":"vol-0bbb","device":"/dev/sdg","mount_point":"/b"}`),
			"freeze":         done(1, 0, "", `{}`),
			"snapshot":       done(1, 1, "", `{"each":[{"mount_point":"/a","volume_id":"vol-0aaa","snapshot_id":"snap-0aaa"},{"mount_point":"/b","volume_id":"vol-0bbb","snapshot_id":"snap-0bbb"}]}`),
			"thaw":           done(2, 0, "", `{"frozen_seconds":0.1234}`),
			"tag-snapshots":  done(2, 1, "", ""),
		}}}}
	golden(t, "summary-snapshot.txt", func(w io.Writer) error { return Summary(w, snap, pretty) })

	// How long all stood still is a number in the JSON.
	var out strings.Builder
	if err := SummaryJSON(&out, snap); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Freezes []struct {
			Step    string  `json:"step"`
			Seconds float64 `json:"frozen_seconds"`
		} `json:"freezes"`
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || len(got.Freezes) != 1 || got.Freezes[0].Step != "thaw" || got.Freezes[0].Seconds != 0.1234 {
		t.Errorf("freezes are %+v, %v", got.Freezes, err)
	}
}

func TestNextCommands(t *testing.T) {
	for _, c := range []struct {
		outcome  journal.Outcome
		rollback bool
		failed   bool
		want     string // last line of the summary, and the commands
	}{
		{journal.RunDone, false, false, "is done"},
		{journal.RunFailed, false, true, "failed|resume R|rollback R"},
		{journal.Interrupted, false, false, "was interrupted|resume R|rollback R"},
		{journal.RolledBack, false, true, "failed and was rolled back"},
		{journal.RolledBack, true, false, "is rolled back"},
		{journal.RunFailed, true, true, "could not be rolled back completely|rollback R"},
		{journal.Interrupted, true, false, "was interrupted while rolling back|rollback R"},
	} {
		e := RunResult{RunResult: engine.RunResult{Run: "R", Plan: mountPlan(t), Rollback: c.rollback, Result: runner.Result{Outcome: c.outcome}}}
		if c.failed {
			e.Result.Failures = []runner.Failure{{Step: "mount:/srv", Err: io.EOF}}
		}
		sentence, _ := e.sentence()
		got := []string{sentence}
		for _, n := range e.commands() {
			got = append(got, strings.TrimPrefix(n.Command, "snaptastic "))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s (rollback %v): %s, want %s", c.outcome, c.rollback, s, c.want)
		}
	}
}

func TestNothingRunsOnceARunIsInterrupted(t *testing.T) {
	records := map[plan.StepID]journal.Record{"attach:/srv/db": {State: journal.Started, StartedAt: t0}}
	var end, show bytes.Buffer
	if err := Summary(&end, RunResult{RunResult: engine.RunResult{Run: "R", Plan: mountPlan(t), Result: runner.Result{Outcome: journal.Interrupted, Records: records}}, Now: t0}, Style{}); err != nil {
		t.Fatal(err)
	}
	if err := Show(&show, Details{RunDetails: engine.RunDetails{Summary: journal.Summary{Meta: journal.Meta{Run: "R", Created: t0}}, Plan: mountPlan(t), Records: records}}, t0, Style{}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"summary": end.String(), "status": show.String()} {
		if !strings.Contains(text, "interrupted at attach") || strings.Contains(text, "running") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

func TestAVolumeDoesNotComeFromASnapshotChosenAfterItWasFound(t *testing.T) {
	p := mountPlan(t)
	for name, c := range map[string]struct{ found, created, want string }{
		"made from the chosen one":    {`{}`, `{"volume_id":"vol-1","snapshot_id":"snap-0abc"}`, "snap-0abc"},
		"found, made empty long ago":  {`{"volume_id":"vol-1"}`, `{"volume_id":"vol-1"}`, ""},
		"found, made from another":    {`{"volume_id":"vol-1","snapshot_id":"snap-0old"}`, "", "snap-0old"},
		"device name in another form": {`{"volume_id":"vol-1","device":"/dev/xvdf","snapshot_id":"snap-0old"}`, "", "snap-0old"},
	} {
		records := map[plan.StepID]journal.Record{
			"find-volume:/srv":   done(0, 0, "", c.found),
			"find-snapshot":      done(0, 0, "", choices),
			"create-volume:/srv": done(0, 0, "", c.created),
		}
		if got := laneFacts(p, records)["/srv"].SnapshotID; got != c.want {
			t.Errorf("%s: snapshot %q, want %q", name, got, c.want)
		}
		if got := laneFacts(p, records)["/srv/db"].VolumeID; got != "" {
			t.Errorf("%s: the other lane has its volume: %q", name, got)
		}
	}
}

func TestRuns(t *testing.T) {
	meta := func(run plan.RunID, age time.Duration, o journal.Outcome) journal.Meta {
		m := journal.Meta{Run: run, Created: t0.Add(-age), Outcome: o}
		if o != "" {
			m.Ended = m.Created.Add(65 * time.Second)
		}
		return m
	}
	failed := meta("20260301T030000000-0003", time.Hour, journal.RunFailed)
	failed.Error = "cannot attach vol-0bbb to i-0c2d as /dev/sdg: the name is in use"
	back := meta("20260301T034500000-0005", 15*time.Minute, "")
	back.RollingBack = true
	runs := []journal.Summary{
		{Meta: meta("20260220T040000000-0001", 9*24*time.Hour, journal.RunDone), Operation: "mount", Snapshotter: "solr"},
		{Meta: journal.Meta{Run: "20260221T040000000-0002"}, Problem: "journal is damaged: it is empty", Damaged: true},
		{Meta: failed, Operation: "mount", Snapshotter: "solr"},
		{Meta: meta("20260301T033000000-0004", 30*time.Minute, ""), Operation: "snapshot", Snapshotter: "postgres"},
		{Meta: back, Operation: "mount", Snapshotter: "solr"},
		{Meta: meta("20260301T035950000-0006", 10*time.Second, ""), Operation: "snapshot", Snapshotter: "postgres", Live: true},
		{Meta: meta("20260228T040000000-0007", 24*time.Hour, journal.RolledBack), Operation: "mount", Snapshotter: "x"},
	}
	var states []engine.RunState
	for _, r := range runs {
		r.BootID, r.ResumePolicy = "one", map[string]plan.ResumePolicy{"mount": plan.ResumeAnyBoot, "snapshot": plan.ResumeThisBoot}[r.Operation]
		states = append(states, engine.RunState{Summary: r, Decision: engine.Decide(engine.ToResume, r, engine.Situation{Boot: "two"})})
	}
	golden(t, "runs.txt", func(w io.Writer) error { return Runs(w, states, t0, pretty) })
	golden(t, "runs.json", func(w io.Writer) error { return RunsJSON(w, states) })
	golden(t, "runs-none.txt", func(w io.Writer) error { return Runs(w, nil, t0, pretty) })
	golden(t, "runs-none.json", func(w io.Writer) error { return RunsJSON(w, nil) })
}

func TestShow(t *testing.T) {
	s := showRun(mountPlan(t))
	now := t0.Add(2 * time.Hour)
	golden(t, "show-failed.txt", func(w io.Writer) error { return Show(w, s, now, Style{Unicode: true, Width: 160}) })
	golden(t, "show-failed.json", func(w io.Writer) error { return ShowJSON(w, s, now) })

	s.Live, s.Outcome, s.Ended, s.Error = true, "", time.Time{}, ""
	delete(s.Records, "mount:/srv/db")
	r := s.Records["attach:/srv/db"]
	r.State, r.Error, r.Hint, r.EndedAt, r.Generation = journal.Started, "", "", time.Time{}, 2
	s.Records["attach:/srv/db"] = r
	golden(t, "show-live.txt", func(w io.Writer) error { return Show(w, s, t0.Add(30*time.Second), Style{Unicode: true, Width: 160}) })
}

func TestShowJSONGivesRecordsBack(t *testing.T) {
	s := showRun(mountPlan(t))
	var b bytes.Buffer
	if err := ShowJSON(&b, s, t0); err != nil {
		t.Fatal(err)
	}
	var back struct {
		journal.Meta
		State string
		Steps []struct {
			ID plan.StepID
			journal.Record
		}
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Meta, s.Meta) || back.State != "failed" {
		t.Errorf("meta is %+v in state %s, want %+v", back.Meta, back.State, s.Meta)
	}
	for _, st := range back.Steps {
		if r := s.Records[st.ID]; st.Token != r.Token || st.Record.Error != r.Error || st.Attempts != r.Attempts {
			t.Errorf("%s: %+v, want %+v", st.ID, st.Record, r)
		}
	}
	if len(back.Steps) != len(s.Plan.Steps) {
		t.Errorf("%d steps, want %d", len(back.Steps), len(s.Plan.Steps))
	}
}

func TestErrorIsReadInFullWithItsHint(t *testing.T) {
	err := plan.Terminal("ask for a higher quota", errors.New("cannot create volume: VolumeLimitExceeded\x1b[2J"))
	for _, c := range []struct {
		err  error
		want string
	}{
		{err, "error: cannot create volume: VolumeLimitExceeded[2J\n  hint: ask for a higher quota\n"},
		{plan.WithHint("do this", err), "error: cannot create volume: VolumeLimitExceeded[2J\n  hint: do this\n"},
		{errors.New("snaptastic.hcl:3,5: no\n  3: size = 0\n"), "error: snaptastic.hcl:3,5: no\n  3: size = 0\n"},
		{plan.WithHint("ask for more", errors.New("no: ask for more")), "error: no: ask for more\n"},
	} {
		var b strings.Builder
		if e := Error(&b, c.err, Style{Width: 20}); e != nil || b.String() != c.want {
			t.Errorf("%q (%v), want %q", b.String(), e, c.want)
		}
	}
}

func TestTableAlignsAndCuts(t *testing.T) {
	rows := [][]string{{"vol-1", "ünï", "a\tb\x1b[31m"}, {"vol-22", "日本", ""}, {"v"}, {"a", "b", "c", "too many"}}
	for _, c := range []struct {
		style Style
		want  string
	}{
		{Style{}, "ID      NAME  NOTE\nvol-1   ünï   a b[31m\nvol-22  日本\nv\na       b     c\n"},
		{Style{Width: 18}, "ID      NAME  NOTE\nvol-1   ünï   a b~\nvol-22  日本\nv\na       b     c\n"},
		{Style{Width: 16}, "ID     NAME NOTE\nvol-1  ünï  a b~\nvol-22 日本\nv\na      b    c\n"},
		{Style{Width: 9, Unicode: true}, "ID     N…\nvol-1  ü…\nvol-22 …\nv\na      b…\n"},
	} {
		var b strings.Builder
		if err := Table(&b, []string{"ID", "NAME", "NOTE"}, rows, c.style); err != nil || b.String() != c.want {
			t.Errorf("width %d:\n%s(%v) want:\n%s", c.style.Width, b.String(), err, c.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 20 << 30: "20 GiB", 1<<40 + 1<<39: "1.5 TiB", 64 << 50: "64 PiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestDetectTakesNoColourFromTheEnvironment(t *testing.T) {
	for locale, want := range map[string]bool{"": false, "C": false, "C.UTF-8": true, "en_US.utf8": true, "ja_JP.UTF-8": false} {
		env := func(name string) string {
			if name == "LANG" {
				return locale
			}
			return ""
		}
		if got := utf8Locale(env); got != want {
			t.Errorf("%q: %v, want %v", locale, got, want)
		}
	}
}
