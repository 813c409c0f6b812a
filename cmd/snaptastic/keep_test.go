package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

const keepSettings = `
snapshotter "db" {
  filter_tags = { role = "db" }
  volume "/dev/sdf" { mount_point = "/m/a" }
  volume "/dev/sdg" { mount_point = "/m/b" }
  keep { daily = 2 }
}
`

// night adds the set of one night: two snapshots that expired long ago.
func night(add func(time.Duration, map[string]string) string, days int, more ...string) (ids []string) {
	for _, point := range []string{"/m/a", "/m/b"} {
		tags := with(ours(point, fmt.Sprint("r", days), oneDay), append([]string{"snaptastic:members", "2"}, more...)...)
		ids = append(ids, add(time.Duration(days)*oneDay+time.Hour, tags))
	}
	return ids
}

func TestCleanGoesByTheRulesOfKeep(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	file := filepath.Join(a.dir, "keep.hcl")
	if err := os.WriteFile(file, []byte(keepSettings), 0o600); err != nil {
		t.Fatal(err)
	}
	add := func(age time.Duration, tags map[string]string) string { return a.add(age, tags) }
	sized := func(s *sandbox.Snapshot) { s.FullSize = 3 << 20 }
	var nights [8][]string
	for days := 7; days >= 1; days-- {
		nights[days] = night(add, days)
	}
	nights[0] = []string{a.add(time.Minute, with(ours("/m/a", "r0", oneDay), "snaptastic:members", "2"), sized), a.add(time.Minute, with(ours("/m/b", "r0", oneDay), "snaptastic:members", "2"), sized)}
	if _, err := a.server.Sandbox.AddImage(sandbox.Image{Disks: []sandbox.ImageVolume{{Device: "/dev/xvda", SnapshotID: nights[4][1], Size: 1}}}); err != nil {
		t.Fatal(err)
	}
	all := a.snapshots()
	out := a.run(0, "--settings", file, "clean", "snapshots", "db", "--dry-run")
	for _, want := range []string{"DELETE", "r7 (set of 2)", "/m/a /m/b role=db", "no rule keeps it", "daily " + time.Now().Add(-time.Minute).UTC().Format(time.DateOnly),
		"uses it", "5 sets with 10 snapshots (of 10 GiB) to delete", "kept: 3 sets (6 snapshots of 6 GiB), 6 MiB of data in the 2 snapshots whose full size EC2 gives"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if out := a.run(0, "--settings", file, "clean", "snapshots", "db", "--dry-run", "--at", "400d"); !strings.Contains(out, "5 sets with 10 snapshots") || !strings.Contains(out, "if no new snapshots were taken until then") {
		t.Errorf("later:\n%s", out)
	}
	a.run(2, "--settings", file, "clean", "snapshots", "db", "--yes", "--at", "400d")
	a.run(2, "--settings", file, "clean", "snapshots", "db", "--dry-run", "--at", "2020-01-01")
	a.run(2, "--settings", file, "clean", "snapshots", "db", "--dry-run", "--at", "soon")
	var said struct {
		Decisions []snapset.Decision
		Kept      snapset.Holding
	}
	if err := json.Unmarshal(a.stdout("--settings", file, "-o", "json", "clean", "snapshots", "db", "--dry-run"), &said); err != nil || len(said.Decisions) != 8 {
		t.Fatalf("%v: %+v", err, said)
	}
	if newest := said.Decisions[7]; newest.Delete || len(newest.KeptBy) != 1 || newest.KeptBy[0].Rule != snapset.RuleDaily || len(newest.Snapshots) != 2 || newest.FullSize != 6<<20 ||
		said.Kept != (snapset.Holding{Sets: 3, Snapshots: 6, Volumes: 6, FullSize: 6 << 20, Unsized: 4}) {
		t.Errorf("%+v, %+v", newest, said.Kept)
	}
	if !slices.Equal(a.snapshots(), all) {
		t.Fatal("a dry run deleted")
	}
	// Without a name the rules of the settings hold as well, and of snapshotters that are in none the date.
	other := a.add(20*oneDay, with(ours("/m/x", "x", oneDay), "role", "web"))
	newer := a.add(oneDay, with(ours("/m/x", "y", -oneDay), "role", "web"))
	a.run(0, "--settings", file, "clean", "snapshots", "--yes")
	a.exactly(slices.Concat(nights[0], nights[1], nights[4], []string{newer}))
	_ = other
	if out := a.run(0, "--settings", file, "clean", "snapshots", "db", "--yes"); !strings.Contains(out, "nothing to clean up") {
		t.Errorf("the second time:\n%s", out)
	}
	out = a.run(0, "--settings", file, "snapshots", "db", "--userdata", "{}")
	for _, want := range []string{"KEPT BY", "daily ", "not kept", "3 MiB", "kept: 2 sets (4 snapshots of 4 GiB), 6 MiB of data in the 2 snapshots", "no longer kept: 1 set (2 snapshots of 2 GiB)"} {
		if !strings.Contains(out, want) {
			t.Errorf("snapshots does not say %q:\n%s", want, out)
		}
	}
}

// A set that can be deleted in part only stays whole.
func TestASetIsDeletedAsAWholeOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   sandbox.Fault
		between func(a *account, ids []string)
		whole   bool
	}{
		{"the permission is missing", sandbox.Fault{Action: "DeleteSnapshot", Error: "UnauthorizedOperation"}, nil, true},
		{"EC2 finds it in use", sandbox.Fault{Action: "DeleteSnapshot", Error: "InvalidSnapshot.InUse", Count: 3}, nil, true},
		{"the answer is lost", sandbox.Fault{Action: "DeleteSnapshot", Reset: "after", Count: 1}, nil, false},
		{"throttled in the middle", sandbox.Fault{Action: "DeleteSnapshot", Error: "RequestLimitExceeded", Count: 2}, nil, false},
		{"untagging is throttled", sandbox.Fault{Action: "CreateTags", Error: "RequestLimitExceeded", Count: 1}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newKeepRig(t)
			run := l.begin()
			if err := sandbox.SetFaults(l.sandboxDir, sandbox.Latency{}, c.fault); err != nil {
				t.Fatal(err)
			}
			_, _ = l.process(run, 0)
			l.nothingHalf()
			if _, there := l.sets()["r5"]; there != c.whole {
				t.Errorf("the set is there: %v, want %v", there, c.whole)
			}
		})
	}
}

// keepRig is an account with sets, of which all but the two newest go.
type keepRig struct {
	*cleanRig
	sandboxDir string
}

func newKeepRig(t *testing.T) *keepRig {
	t.Helper()
	dir := memory(t)
	l := &keepRig{&cleanRig{t: t}, filepath.Join(dir, "sandbox")}
	l.sandbox, l.client = openSandbox(t, l.sandboxDir)
	var err error
	if l.store, err = journal.OpenStore(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	for _, days := range []int{5, 4, 1} {
		night(l.add, days)
	}
	l.stay = append(l.stay, night(l.add, 0)...)
	return l
}

func (l *keepRig) begin() *journal.Run {
	l.t.Helper()
	e := engine.New(engine.Config{StateDir: l.store.Dir(), Log: slog.New(slog.DiscardHandler), UserData: func() ([]byte, error) { return []byte("{}"), nil },
		Connect: func(context.Context, journal.CloudConfig, time.Time) (*ec2.Client, error) { return l.client, nil },
		Settings: func() (*settings.File, error) {
			return settings.Parse("keep.hcl", []byte(strings.Replace(keepSettings, "daily = 2", "last = 1", 1)))
		}})
	c, err := e.PlanClean(l.t.Context(), engine.CleanRequest{Operation: recipe.CleanSnapshots.Name, Name: "db"})
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := recipe.CleanSnapshots.Plan(recipe.Request{Decisions: c.Decisions})
	if err != nil || len(p.Steps) != 3 {
		l.t.Fatalf("plan: %+v %v", p, err)
	}
	run, err := l.store.Begin(journal.Meta{Run: "20260101T000000000-0001"}, p)
	if err != nil {
		l.t.Fatal(err)
	}
	return run
}

// sets are the labelled members of each run's set.
func (l *keepRig) sets() map[string][]ec2.Snapshot {
	l.t.Helper()
	all, err := l.client.Snapshots(context.Background(), ec2.SnapshotQuery{})
	if err != nil {
		l.t.Fatal(err)
	}
	sets := map[string][]ec2.Snapshot{}
	for _, s := range all {
		if s.Tags["snaptastic:state"] == "consistent" {
			sets[s.Tags["snaptastic:run"]] = append(sets[s.Tags["snaptastic:run"]], s)
		}
	}
	return sets
}

// nothingHalf: what is labelled is whole.
func (l *keepRig) nothingHalf() {
	l.t.Helper()
	for run, members := range l.sets() {
		if len(members) != 2 {
			l.t.Errorf("of the set of %s %d snapshots are labelled", run, len(members))
		}
	}
}

func TestACleanUpByKeepEndsTheSameWhereverItIsCutOff(t *testing.T) {
	t.Parallel()
	l := newKeepRig(t)
	res, f := l.process(l.begin(), 0)
	if res.Outcome != journal.RunDone {
		t.Fatalf("undisturbed it ends as %s: %+v", res.Outcome, res.Failures)
	}
	for at := 1; at <= f.points; at++ {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			l := newKeepRig(t)
			run := l.begin()
			id := run.Meta().Run
			_, f := l.process(run, at)
			l.nothingHalf()
			run, err := l.store.Resume(id)
			if err != nil {
				t.Fatal(err)
			}
			res, _ := l.process(run, 0)
			if res.Outcome != journal.RunDone {
				t.Errorf("cut off at %s and resumed it ends as %s: %+v", f.name, res.Outcome, res.Failures)
			}
			var left []string
			all, err := l.client.Snapshots(t.Context(), ec2.SnapshotQuery{})
			for _, s := range all {
				left = append(left, s.ID)
			}
			slices.Sort(left)
			slices.Sort(l.stay)
			if err != nil || !slices.Equal(left, l.stay) {
				t.Errorf("cut off at %s: left are %v, want %v; %v", f.name, left, l.stay, err)
			}
		})
	}
}

func (s failpointClient) CreateTags(ctx context.Context, ids []string, tags map[string]string) error {
	return s.fuse.between("CreateTags", func() error { return s.Client.CreateTags(ctx, ids, tags) })
}

// cleaned: each labelled set is whole, the newest there is among them, and where the run says that it has deleted the others,
// they are gone.
func (u *simulation) cleaned() {
	u.t.Helper()
	sets := map[string]int{}
	var latest string
	for _, s := range u.snapshots() {
		if s.Tags["snaptastic:state"] != "consistent" {
			continue
		}
		sets[s.Tags["snaptastic:run"]]++
		latest = max(latest, s.Tags["snaptastic:run"])
	}
	for run, n := range sets {
		if n != len(u.spec.Volumes) {
			u.t.Errorf("of the set of %s %d snapshots are labelled", run, n)
		}
	}
	if len(sets) == 0 {
		u.t.Error("no set is left")
	}
	runs := u.list()
	last := runs[len(runs)-1].Run
	j, err := unlocked(func() (*journal.Journal, error) { return u.store.Read(last) })
	if err != nil {
		u.t.Fatal(err)
	}
	defer j.Close()
	if j.Records()["delete-sets"].State == journal.Done && (len(u.snapshots()) != len(u.spec.Volumes) || latest != string(last)) {
		u.t.Errorf("%d snapshots are left, the newest of %s", len(u.snapshots()), latest)
	}
	if rec := j.Records()["delete-sets"]; rec.State == journal.Failed {
		u.t.Errorf("the deletion failed: %s", rec.Error)
	}
	u.noneFrozen()
}

// The new snapshots are good, whatever becomes of the old ones.
func TestASnapshotRunCleansUpAfterItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	text, err := os.ReadFile(r.settings)
	if err == nil {
		err = os.WriteFile(r.settings, []byte(strings.TrimSuffix(string(text), "}\n")+"  clean_after = true\n  keep {\n    last = 1\n  }\n}\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.must("run", "mount", "db")
	count := func() (labelled map[string]int) {
		t.Helper()
		all, err := r.client.Snapshots(t.Context(), ec2.SnapshotQuery{})
		if err != nil {
			t.Fatal(err)
		}
		labelled = map[string]int{}
		for _, s := range all {
			if s.Tags["snaptastic:state"] != "consistent" || s.Tags["expires"] != "" {
				t.Errorf("%s is left with %v", s.ID, s.Tags)
			}
			labelled[s.Tags["snaptastic:run"]]++
		}
		return labelled
	}
	r.must("run", "snapshot", "db")
	out := r.must("run", "snapshot", "db")
	if n := count(); len(n) != 1 || !strings.Contains(out, "deleted 1 set (2 snapshots of 2 GiB)") {
		t.Errorf("%v\n%s", n, out)
	}
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Action: "DeleteSnapshot", Error: "UnauthorizedOperation"}); err != nil {
		t.Fatal(err)
	}
	code, out := r.run("run", "snapshot", "db")
	if n := count(); code != exitSomeLanes || len(n) != 2 || !strings.Contains(out, "the new snapshots are labelled") || !strings.Contains(out, "snaptastic clean snapshots db") {
		t.Errorf("exit %d, %v\n%s", code, n, out)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}); err != nil {
		t.Fatal(err)
	}
	r.must("run", "snapshot", "db", "--wait")
	if n := count(); len(n) != 1 {
		t.Errorf("the next run left %v", n)
	}
	for run, n := range count() {
		if n != 2 {
			t.Errorf("%s has %d", run, n)
		}
	}
}
