package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// A long history costs little memory: what is kept of a snapshot is small, and
// no list of them is written from one piece.
func TestTenThousandSnapshotsFitInto40MiB(t *testing.T) { fitsIntoMemory(t, 10_000, 40) }

func TestFiftyThousandSnapshotsFitInto64MiB(t *testing.T) {
	heavy(t)
	fitsIntoMemory(t, 50_000, 64)
}

// fitsIntoMemory runs what reads the history with so many snapshots, each within so many MiB.
func fitsIntoMemory(t *testing.T, snapshots, mib int) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short: makes thousands of snapshots")
	}
	needRig(t)
	bin := program(t)
	r := newRig(t, 1, "ext4") // of all histories the one with the most sets
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db")
	r.bin = bin
	addHistory(t, r.openSandbox(), snapshots, r.mounts[0])
	r.eventually("answer of a sandbox that has read them", func() bool { _, err := r.client.Metadata().Identity(t.Context()); return err == nil })
	const patient = "--timeout=20m"
	for _, c := range []struct {
		code  int
		wants []string
		args  []string
	}{
		{0, []string{"done"}, []string{"run", "mount", "db"}},
		{0, []string{"each with a restorable snapshot"}, []string{"check", "db", patient}},
		{0, []string{"a mount of all volumes would restore"}, []string{"snapshots", "db", patient}},
		{0, []string{`"choices": [`}, []string{"snapshots", "db", "-o", "json", patient}},
		{0, []string{"done"}, []string{"run", "unmount", "db"}},
		{0, []string{"snap-"}, []string{"plan", "mount", "db"}},
		{0, []string{"snap-", "done"}, []string{"run", "mount", "db"}},
		{0, []string{"new empty volume"}, []string{"snapshots", "other", patient}}, // looks for what it perhaps means
	} {
		if c.args[1] == "other" {
			r.declare(fmt.Sprintf("snapshotter \"other\" {\n  filter_tags = { role = \"other\" }\n%s}\n", r.volume(0, "ext4")))
		}
		most := mib * 1024
		peak, cpu, code, out := r.peak(c.args...)
		t.Logf("%v: %.1f MiB, %v of CPU, %d bytes written", c.args, float64(peak)/1024, cpu, len(out))
		// The collector may have waited for a processor. What needs the memory needs it each time.
		for range 2 {
			if peak < most || c.args[0] == "run" {
				break
			}
			again, _, _, _ := r.peak(c.args...)
			peak = min(peak, again)
		}
		if code != c.code || slices.ContainsFunc(c.wants, func(text string) bool { return !strings.Contains(out, text) }) {
			t.Errorf("%v: exit %d, not all of %q is in\n%.2000s", c.args, code, c.wants, out)
		}
		if peak == 0 || peak >= most {
			t.Errorf("%v: the peak is %d KiB", c.args, peak)
		}
	}
}

// peak runs the program and returns its largest resident set in KiB, and its
// time on the processor. What it writes is read at the end only, so that it
// cannot end unseen.
func (r *rig) peak(args ...string) (kib int, cpu time.Duration, code int, out string) {
	r.t.Helper()
	cmd := r.command(args...)
	file, err := os.CreateTemp(r.dir, "out-*")
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { _ = cmd.Wait(); close(over) }()
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(2 * time.Millisecond):
			kib = max(kib, highWater(cmd.Process.Pid))
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		r.t.Fatal(err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		r.t.Fatal(err)
	}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return kib, time.Duration(use.Utime.Nano() + use.Stime.Nano()), cmd.ProcessState.ExitCode(), string(text)
}

// addHistory gives a world the snapshots of many hourly runs, each of a volume of its own.
func addHistory(t *testing.T, w *sandbox.Sandbox, runs int, mountPoint string) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	var rows []sandbox.Snapshot
	for i := range runs {
		at := now.Add(-time.Duration(i+1) * time.Hour)
		run, token := fmt.Sprintf("%s-%04x", at.Format("20060102T150405000"), i&0xffff), fmt.Sprintf("%032x", i)
		s := sandbox.Snapshot{VolumeID: fmt.Sprintf("vol-%017x", i), Size: 1, Started: at, Description: "snaptastic: " + mountPoint + " of run " + run, Tags: sandbox.Tags{}}
		for key, value := range map[string]string{"role": "db", "environment": "production", "Name": "db " + mountPoint, "cost-center": "4711",
			steps.TagMountPoint: mountPoint, steps.TagInstance: "i-0123456789abcdef0", steps.TagCreated: at.Format(time.RFC3339),
			steps.TagExpires: at.Add(14 * 24 * time.Hour).Format(time.RFC3339), steps.TagRun: run, steps.TagToken: token,
			steps.TagMembers: "1", steps.TagState: steps.Consistent, snapset.TagSet: snapset.SetID(run, token),
			snapset.TagDataTime: snapset.DataStamp(at), snapset.TagFilterKeys: "role"} {
			s.Tags[key] = sandbox.TagValue{Value: value}
		}
		rows = append(rows, s)
		if len(rows) == 5000 || i == runs-1 {
			if _, err := w.AddSnapshots(rows...); err != nil {
				t.Fatal(err)
			}
			rows = nil
		}
	}
}
