package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// exposed reads the text format of Prometheus, and fails on what its parser would refuse: a sample without a family, a family
// that is declared twice, a sample that is there twice, and anything else on a line.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
func exposed(t *testing.T, text string) map[string]float64 {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line has no end")
	}
	samples, family := map[string]float64{}, map[string]bool{}
	comment := regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	sample := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? (\S+)$`)
	current := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := comment.FindStringSubmatch(line); m != nil {
			if key := m[1] + m[2]; family[key] {
				t.Errorf("%s of %s is declared twice", m[1], m[2])
			} else {
				family[key] = true
			}
			if m[1] == "TYPE" && m[3] != "gauge" && m[3] != "counter" {
				t.Errorf("unknown type: %s", line)
			}
			current = m[2]
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a sample: %q", line)
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if _, twice := samples[m[1]+m[2]]; err != nil || twice || m[1] != current || !family["TYPE"+m[1]] {
			t.Errorf("%q: %v, there already: %t, in the family %s", line, err, twice, current)
		}
		samples[m[1]+m[2]] = value
	}
	return samples
}

// How the last runs ended is told in the format that the textfile collector reads.
func TestRunsForPrometheus(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	metrics := func() map[string]float64 {
		t.Helper()
		code, stdout, stderr := r.apart(r.command("runs", "--format", "prometheus"))
		if code != exitDone {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		return exposed(t, stdout)
	}
	if m := metrics(); len(m) != 1 || m["snaptastic_runs_unfinished"] != 0 {
		t.Errorf("before the first run: %v", m)
	}
	begun := time.Now()
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db")
	labels := `{operation="snapshot",snapshotter="db"}`
	m := metrics()
	success := m["snaptastic_run_success_timestamp_seconds"+labels]
	if m["snaptastic_run_last_success"+labels] != 1 || success < float64(begun.Unix()) || m["snaptastic_run_last_timestamp_seconds"+labels] != success {
		t.Errorf("after a snapshot: %v", m)
	}
	if frozen := m["snaptastic_run_last_frozen_seconds"+labels]; frozen <= 0 || frozen > m["snaptastic_run_last_duration_seconds"+labels] {
		t.Errorf("frozen for %g s in a run of %g s", frozen, m["snaptastic_run_last_duration_seconds"+labels])
	}
	if _, froze := m[`snaptastic_run_last_frozen_seconds{operation="mount",snapshotter="db"}`]; froze {
		t.Error("a mount froze something")
	}
	// One that fails and undoes itself is the last, and not the last that succeeded.
	r.setFaults(sandbox.Fault{Action: "CreateSnapshot", Error: "SnapshotLimitExceeded"}, sandbox.Fault{Action: "CreateSnapshots", Error: "SnapshotLimitExceeded"})
	if code, out := r.run("run", "snapshot", "db"); code != exitFailed {
		t.Fatalf("exit %d\n%s", code, out)
	}
	m = metrics()
	if m["snaptastic_run_last_success"+labels] != 0 || m["snaptastic_run_success_timestamp_seconds"+labels] != success {
		t.Errorf("after a snapshot that failed: %v", m)
	}
	// One that failed and waits for an operator, or was killed, is the last as well.
	r.must("run", "unmount", "db")
	labels = `{operation="mount",snapshotter="db"}`
	success = metrics()["snaptastic_run_success_timestamp_seconds"+labels]
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded"})
	if code, out := r.run("run", "mount", "db"); code != exitFailed {
		t.Fatalf("exit %d\n%s", code, out)
	}
	m = metrics()
	if m["snaptastic_run_last_success"+labels] != 0 || m["snaptastic_run_success_timestamp_seconds"+labels] != success || m["snaptastic_runs_unfinished"] != 1 ||
		m["snaptastic_run_last_timestamp_seconds"+labels] < success {
		t.Errorf("after a mount that failed: %v", m)
	}
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Hang: time.Minute})
	killed := r.start("resume", "last")
	r.eventually("attach", func() bool {
		code, status := r.run("status", "last") // which a run that has just begun does not answer yet
		return code == 0 && strings.Contains(status, "attach") && strings.Contains(r.must("runs"), "live")
	})
	_ = killed.Process.Kill()
	_ = killed.Wait()
	m = metrics()
	if last, known := m["snaptastic_run_last_success"+labels]; !known || last != 0 {
		t.Errorf("after a mount that was killed: %v", m)
	}
	for _, args := range [][]string{{"runs", "--format", "xml"}, {"runs", "--format", "prometheus", "-o", "json"}} {
		if code, out := r.run(args...); code != exitUsage {
			t.Errorf("%v: exit %d\n%s", args, code, out)
		}
	}
}

// What check writes is in that format, too.
func TestCheckForPrometheusIsWellFormed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db")
	code, stdout, stderr := r.apart(r.command("check", "db", "--format", "prometheus"))
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if m := exposed(t, stdout); m["snaptastic_check_gaps"] != 0 || len(m) < 5 {
		t.Errorf("unexpected samples %v", m)
	}
}

// plan --detailed-exitcode tells a script whether there is anything to do.
func TestPlanTellsByItsExitCodeWhetherSomethingWouldChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	is := func(want int, args ...string) {
		t.Helper()
		if code, out := r.run(append([]string{"plan"}, args...)...); code != want {
			t.Errorf("plan %v: exit %d, want %d\n%s", args, code, want, out)
		}
	}
	is(exitChanges, "mount", "db", "--detailed-exitcode")
	is(exitDone, "mount", "db")
	r.must("run", "mount", "db")
	is(exitDone, "mount", "db", "--detailed-exitcode")
	is(exitDone, "mount", "db", "--detailed-exitcode", "-o", "json")
	is(exitChanges, "snapshot", "db", "--detailed-exitcode")
	is(exitUsage, "mount", "db", "--detailed-exitcode", "--format", "dot")
	r.must("run", "unmount", "db")
	is(exitChanges, "mount", "db", "--detailed-exitcode", "-o", "json")
	is(exitSomeLanes, "snapshot", "db", "--detailed-exitcode") // nothing is mounted: a step would fail
}
