package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// hooked declares the rig's volumes with more in the snapshotter's block.
func (r *rig) hooked(more string) {
	r.t.Helper()
	var b strings.Builder
	b.WriteString("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n")
	for i := range r.mounts {
		b.WriteString(r.volume(i, "ext4"))
	}
	r.declare(b.String() + more + "}\n")
}

// live: a run that waits in a hook, until release.
func (r *rig) waitingHook(name string) (hook string, release func()) {
	r.t.Helper()
	gate := filepath.Join(r.dir, "gate-"+name)
	hook = r.script("hook-"+name, fmt.Sprintf("touch %s.in\nwhile [ -e %s ]; do sleep 0.02; done\n", gate, gate))
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
	release = func() { _ = os.Remove(gate) }
	r.t.Cleanup(release)
	return hook, release
}

func (r *rig) inHook(name string) func() bool {
	return func() bool { _, err := os.Stat(filepath.Join(r.dir, "gate-"+name+".in")); return err == nil }
}

// Two runs over one volume: the second is refused with the first one's name,
// while it lives, while it is stopped, and after it was killed.
func TestTheSecondRunOverAVolumeIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	hook, release := r.waitingHook("a")
	r.hooked(fmt.Sprintf("  hook \"pre_mounts\" { command = [%q] }\n", hook))
	cmd := r.background("run", "mount", "db")
	r.eventually("hook", r.inHook("a"))
	var id string
	r.eventually("live run", func() bool {
		var rows []struct{ Run, State string }
		_, out := r.run("--log-level", "off", "status", "-o", "json")
		_ = json.Unmarshal([]byte(out), &rows)
		if len(rows) == 1 {
			id = rows[0].Run
		}
		return id != ""
	})
	for _, second := range [][]string{{"run", "mount", "db"}, {"run", "unmount", "db"}, {"run", "snapshot", "db"}} {
		out := r.wants(5, "claimed by run "+id+", which is live", second...)
		if !strings.Contains(out, "snaptastic status") {
			t.Errorf("it does not say what to do:\n%s", out)
		}
	}
	r.wants(5, "live", "resume", id)
	r.wants(5, "live", "rollback", id)
	r.wants(5, "live", "abandon", id)
	r.wants(0, "nothing to resume", "resume") // a live run is nobody else's
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.wants(5, id, "run", "mount", "db")
	r.wants(0, "nothing to resume", "resume")
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	release()
	out := r.wants(5, "claimed by run "+id+", which was interrupted", "run", "unmount", "db")
	if !strings.Contains(out, "snaptastic resume "+id) || !strings.Contains(out, "snaptastic rollback "+id) {
		t.Errorf("it does not say what to do:\n%s", out)
	}
	r.must("resume")
	if got := r.mounted(); len(got) != 1 {
		t.Errorf("mounted: %v", got)
	}
}

// A failed or killed nightly snapshot never keeps the next night's from being
// taken: not one whose call was refused, not one that was killed, not one that
// may not even delete what it began.
func TestNightlySnapshotsGoOn(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 2, "ext4")
		r.must("run", "mount", "db")
		r.precious()
		r.setFaults(sandbox.Fault{Action: "CreateSnapshots", Error: "UnauthorizedOperation"})
		r.wants(1, "ec2:CreateSnapshots", "run", "snapshot", "db")
		r.calm()
		r.must("run", "snapshot", "db")
		r.check(true)
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 2, "ext4")
		r.must("run", "mount", "db")
		r.precious()
		r.hang("CreateTags", time.Minute, "before")
		r.killInStep("tag-snapshots", "run", "snapshot", "db")
		if s := r.snapshots(); len(s) != 2 || s[0].Tags["snaptastic:state"] != "unverified" {
			t.Fatalf("the killed run left %v", s)
		}
		r.calm()
		r.must("run", "snapshot", "db")
		if s := r.snapshots(); len(s) != 2 {
			t.Errorf("%d snapshots, want the new set alone", len(s))
		}
		r.check(true)
	})
	t.Run("not undone", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 1, "ext4")
		r.must("run", "mount", "db")
		r.precious()
		r.setFaults(sandbox.Fault{Action: "CreateTags", Error: "UnauthorizedOperation", Count: 1},
			sandbox.Fault{Action: "DeleteSnapshot", Error: "UnauthorizedOperation"})
		r.wants(1, "ec2:DeleteSnapshot", "run", "snapshot", "db")
		left := r.snapshots()
		if len(left) != 1 || left[0].Tags["snaptastic:state"] != "unverified" {
			t.Fatalf("left are %v", left)
		}
		out := r.wants(0, left[0].ID, "run", "snapshot", "db") // said: what remains, and of which run
		if !strings.Contains(out, "abandoned") {
			t.Errorf("it does not say that the old run is let go:\n%s", out)
		}
		if got := r.unfinished(); len(got) > 0 {
			t.Errorf("unfinished: %v", got)
		}
		n := 0
		for _, s := range r.snapshots() {
			if s.Tags["snaptastic:state"] == "consistent" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d labelled snapshots, want the new night's", n)
		}
	})
}

// Different snapshotters have nothing to wait for.
func TestTwoSnapshottersGoSideBySide(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	hookA, releaseA := r.waitingHook("a")
	hookB, releaseB := r.waitingHook("b")
	r.declare(fmt.Sprintf("snapshotter \"a\" {\n  filter_tags = { role = \"db\" }\n%s  hook \"pre_mounts\" { command = [%q] }\n}\nsnapshotter \"b\" {\n  filter_tags = { role = \"db\" }\n%s  hook \"pre_mounts\" { command = [%q] }\n}\n",
		r.volume(0, "ext4"), hookA, r.volume(1, "ext4"), hookB))
	a, b := r.background("run", "mount", "a"), r.background("run", "mount", "b")
	r.eventually("hook of a", r.inHook("a"))
	r.eventually("hook of b", r.inHook("b")) // while a is in its own
	releaseA()
	releaseB()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
	if err := b.Wait(); err != nil {
		t.Error(err)
	}
	if got := r.mounted(); len(got) != 2 {
		t.Errorf("mounted: %v", got)
	}
}

// A mount that was killed, and then the settings changed: the new run takes the
// old one's unfinished lanes back first, and leaks nothing.
func TestChangedSettingsAfterAKilledMount(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sdg"}, Hang: time.Minute})
	r.killWhen("one mount and one attach", func() bool { return len(r.mounted()) == 1 && r.inside("attach") }, "run", "mount", "db")
	r.calm()
	before := r.volumes()
	if err := os.WriteFile(filepath.Join(r.mounts[0], "precious"), []byte(r.mounts[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	r.hooked("  description = \"other\"\n  expire_after = \"3d\"\n  timeouts { attach = \"77s\" }\n")
	r.must("run", "mount", "db")
	after := r.volumes()
	if before[r.mounts[0]].ID != after[r.mounts[0]].ID {
		t.Errorf("the mounted volume %s was replaced by %s", before[r.mounts[0]].ID, after[r.mounts[0]].ID)
	}
	if before[r.mounts[1]].ID == after[r.mounts[1]].ID {
		t.Errorf("the unfinished lane's volume %s was not taken back", before[r.mounts[1]].ID)
	}
	if err := os.WriteFile(filepath.Join(r.mounts[1], "precious"), []byte(r.mounts[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	r.check(true)
}

// Abandoning ends a run, names what it leaves, and frees its claims.
func TestAbandonedRunsHoldNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.hang("AttachVolume", time.Minute, "before")
	r.killInStep("attach", "run", "mount", "db")
	r.calm()
	id := r.only()
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil || len(vs) != 1 {
		t.Fatalf("%v, %v", vs, err)
	}
	r.wants(0, vs[0].ID, "abandon", id)
	r.wants(1, "has already ended (abandoned)", "resume", id)
	r.wants(1, "has already ended (abandoned)", "rollback", id)
	r.must("run", "mount", "db")
	if got := r.mounted(); len(got) != 1 {
		t.Errorf("mounted: %v", got)
	}
}

// What is done is not rolled back: that is another operation, which is named.
func TestAFinishedMountIsNotRolledBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.precious()
	runs, _ := filepath.Glob(filepath.Join(r.state(), "runs", "*.db"))
	id := strings.TrimSuffix(filepath.Base(runs[0]), ".db")
	r.wants(1, "snaptastic run unmount db", "rollback", id)
	r.check(true)
}

// A hook that must not be repeated, cut off inside: an operator decides, and
// may do so at once.
func TestAnUnrepeatableHookIsTheOperators(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"--redo", "--assume-done"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			log := filepath.Join(r.dir, "hooks")
			hook := r.script("hook", fmt.Sprintf("echo ran >> %s\n[ -e %s ] && exec sleep 60\nexit 0\n", log, filepath.Join(r.dir, "slow")))
			slow := filepath.Join(r.dir, "slow")
			if err := os.WriteFile(slow, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			r.hooked(fmt.Sprintf("  hook \"pre_mounts\" {\n    command = [%q]\n    repeatable = false\n  }\n", hook))
			r.killWhen("hook", func() bool { _, err := os.Stat(log); return err == nil && r.inside("hook:pre_mounts") }, "run", "mount", "db")
			_ = os.Remove(slow)
			id := r.only()
			r.wants(2, "no step", "resume", id, how, "hook:pre_mount")
			r.wants(2, "find-snapshot is not uncertain", "resume", id, how, "find-snapshot")
			if how == "--redo" {
				r.wants(4, "--assume-done hook:pre_mounts", "resume", id)
				r.wants(4, "--redo hook:pre_mounts", "resume", id) // asked once more, it says the same
			}
			r.must("resume", id, how, "hook:pre_mounts") // with --assume-done, without having been asked
			b, _ := os.ReadFile(log)
			want := map[string]int{"--redo": 2, "--assume-done": 1}[how]
			if n := strings.Count(string(b), "ran"); n != want {
				t.Errorf("the hook ran %d times, want %d", n, want)
			}
			if got := r.mounted(); len(got) != 1 {
				t.Errorf("mounted: %v", got)
			}
		})
	}
}

// status and show tell of a live run from another process within a second, and
// go on telling.
func TestALiveRunIsSeenFromOutside(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{Create: 15 * time.Second}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cmd := r.background("run", "mount", "db")
	var id string
	var shown struct {
		Run, State string
		Steps      []struct{ ID, State string }
	}
	r.eventually("live run", func() bool {
		var rows []struct{ Run, State, Operation string }
		_, out := r.run("--log-level", "off", "status", "-o", "json")
		if json.Unmarshal([]byte(out), &rows) == nil && len(rows) == 1 && rows[0].Operation == "mount" && rows[0].State == "live" {
			id = rows[0].Run
			return true
		}
		return false
	})
	seen := time.Since(began)
	r.eventually("step under way", func() bool {
		asked := time.Now()
		_, out := r.run("--log-level", "off", "show", id, "-o", "json")
		if took := time.Since(asked); took > 15*time.Second { // while the run holds its journal
			t.Errorf("show took %s", took)
		}
		if err := json.Unmarshal([]byte(out), &shown); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, s := range shown.Steps {
			if strings.HasPrefix(s.ID, "create-volume") && s.State == "done" {
				return true
			}
		}
		return false
	})
	if shown.State != "live" || shown.Run != id {
		t.Errorf("show says %q of run %q", shown.State, shown.Run)
	}
	if seen > 10*time.Second { // long before EC2 has made the volume
		t.Errorf("status told of the run after %s", seen)
	}
	r.wants(0, "live", "status")
	r.wants(0, "wait-available", "show", id)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	r.wants(0, "interrupted", "status")
	r.wants(0, "interrupted", "show", id)
	r.must("rollback", id)
	if vs := r.volumes(); len(vs) > 0 {
		t.Errorf("left are %v", vs)
	}
}

// Of a killed mount one volume is in use, and taking back the other one is cut
// off too. Whoever goes on with that takes back the other one and no more.
func TestTakingBackSomeLanesNeverTakesTheOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sdg"}, Hang: time.Minute})
	r.killWhen("one mount and one attach", func() bool { return len(r.mounted()) == 1 && r.inside("attach") }, "run", "mount", "db")
	served := r.volumes()[r.mounts[0]].ID
	if err := os.WriteFile(filepath.Join(r.mounts[0], "precious"), []byte(r.mounts[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	r.hang("DeleteVolume", time.Minute, "before")
	r.hooked("  timeouts { attach = \"77s\" }\n")
	r.killWhen("undoing", func() bool {
		for _, rec := range r.live("create-volume") {
			if rec.Undo != "" {
				return true
			}
		}
		return false
	}, "run", "mount", "db")
	r.calm()
	r.must("resume")
	if got := r.mounted(); len(got) != 1 || r.volumes()[r.mounts[0]].ID != served {
		t.Errorf("mounted are %v; what served is %s", got, r.volumes()[r.mounts[0]].State)
	}
	r.must("run", "mount", "db")
	if got := r.volumes()[r.mounts[0]].ID; got != served {
		t.Errorf("%s served, and now it is %s", served, got)
	}
	if err := os.WriteFile(filepath.Join(r.mounts[1], "precious"), []byte(r.mounts[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	r.check(true)
}
