package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// says writes a word on every volume, and reads is what is there.
func (r *rig) says(word string) {
	r.t.Helper()
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "word"), []byte(word), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) reads(word string) {
	r.t.Helper()
	for _, m := range r.mounts {
		if b, err := os.ReadFile(filepath.Join(m, "word")); err != nil || string(b) != word {
			r.t.Errorf("%s says %q (%v), want %q", m, b, err, word)
		}
	}
	if n := len(r.mounted()); n != len(r.mounts) {
		r.t.Errorf("%d of %d are mounted", n, len(r.mounts))
	}
}

// takeSet makes a set and returns its run.
func (r *rig) takeSet() string {
	r.t.Helper()
	r.must("run", "snapshot", "db")
	all := r.snapshots()
	newest := slices.MaxFunc(all, func(a, b ec2.Snapshot) int { return a.Started.Compare(b.Started) })
	return newest.Tags["snaptastic:run"]
}

// left are the volumes that are not attached, by what their tag says of them.
func (r *rig) left() (replaced, others []string) {
	r.t.Helper()
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range vs {
		switch {
		case v.State == "in-use":
			if v.Tags["snaptastic:replaced"]+v.Tags["snaptastic:detached"] != "" {
				r.t.Errorf("%s is attached and tagged %v", v.ID, v.Tags)
			}
		case v.Tags["snaptastic:replaced"] != "" && v.Tags["snaptastic:detached"] != "":
			replaced = append(replaced, v.ID)
		default:
			others = append(others, v.ID)
		}
	}
	return replaced, others
}

func (r *rig) leaves(replaced, others int) {
	r.t.Helper()
	if a, b := r.left(); len(a) != replaced || len(b) != others {
		r.t.Errorf("left are %v replaced and %v, want %d and %d", a, b, replaced, others)
	}
}

// hooksThatTell makes the hooks of a database that is stopped and started: what it finds when it starts is written down.
func (r *rig) hooksThatTell(fail string) (log func() string) {
	r.t.Helper()
	file := filepath.Join(r.dir, "log")
	stop := r.script("stop", fmt.Sprintf("echo stop >> %s\n", file))
	start := r.script("start", fmt.Sprintf("w=$(cat %s/word 2>/dev/null)\n[ \"$w\" != %q ] || exit 1\necho start $w >> %s\n", r.mounts[0], fail, file))
	r.hooked(fmt.Sprintf("  hook \"pre_unmounts\" { command = [%q] }\n  hook \"post_mounts\" { command = [%q] }\n", stop, start))
	return func() string {
		b, _ := os.ReadFile(file)
		_ = os.Remove(file)
		return strings.Join(strings.Fields(string(b)), " ")
	}
}

// A set is chosen by its run, by a time and by a snapshot; what is attached of another one is refused and restore is named;
// restore goes to it and rollback comes back, with what works on the volumes stopped and started each time.
func TestRestoreInPlaceAndBack(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, n, "ext4")
			log := r.hooksThatTell("never")
			r.must("run", "mount", "db")
			r.says("one")
			one := r.takeSet()
			time.Sleep(1100 * time.Millisecond) // a time has seconds
			between := time.Now().UTC().Format(time.RFC3339)
			time.Sleep(1100 * time.Millisecond)
			r.says("two")
			r.takeSet()
			r.says("three")
			_ = log()

			r.wants(0, one, "snapshots", "db")
			r.wants(exitSomeLanes, "run restore db --set "+one, "plan", "mount", "db", "--set", one)
			r.wants(exitFailed, "run restore db --set "+one, "run", "mount", "db", "--set", one)
			r.wants(exitFailed, "--before "+between, "run", "mount", "db", "--before", between)
			r.wants(exitFailed, "the oldest is snap-", "run", "mount", "db", "--before", "3d")
			r.wants(exitFailed, `no set or snapshot "2019" has these filter tags`, "run", "restore", "db", "--set", "2019")
			if out := r.wants(exitFailed, one, "plan", "restore", "db", "--set", "nope"); strings.Contains(out, "would not succeed") {
				t.Errorf("the plan of nothing is\n%s", out)
			}
			r.wants(exitUsage, "cannot be used together", "run", "restore", "db", "--set", one, "--before", "3d")
			r.wants(exitUsage, "expected a time such as", "run", "mount", "db", "--before", "soon")
			r.wants(exitUsage, "--before: 2120-01-01 is in the future", "run", "mount", "db", "--before", "2120-01-01")
			r.wants(exitUsage, "--before: 2120-01-01 is in the future", "plan", "restore", "db", "--before", "2120-01-01")
			r.reads("three")
			if got := log(); got != "" {
				t.Errorf("the hooks ran: %q", got)
			}

			r.wants(0, "until now", "run", "restore", "db", "--before", between)
			r.reads("one")
			r.leaves(n, 0)
			if got := log(); got != "stop start one" {
				t.Errorf("the hooks said %q", got)
			}
			r.must("run", "mount", "db", "--set", one) // it is that one
			r.says("four")
			restore := r.lastOf("restore")
			if n > 1 {
				r.wants(0, "detach", "plan", "restore", "db", "--set", one)
			}
			_ = log()
			r.wants(0, "The previous volumes are mounted again:\n  ", "rollback", restore)
			if now := r.attachedAt(r.mounts[0]); !strings.Contains(r.must("show", r.lastOf("restore")), now+" on "+r.mounts[0]+" again") {
				t.Errorf("%s is mounted, which is not shown", now)
			}
			r.reads("three")
			r.leaves(n, 0)
			if got := log(); got != "stop start three" {
				t.Errorf("going back, the hooks said %q", got)
			}
			back := r.lastOf("restore")
			r.wants(exitFailed, "snaptastic rollback "+back, "rollback", restore)
			r.must("rollback", back) // and forth
			r.reads("four")
			r.wants(exitFailed, "snaptastic rollback "+r.lastOf("restore"), "rollback", restore)
			if len(r.unfinished()) > 0 {
				t.Errorf("unfinished: %v", r.unfinished())
			}
			r.reboot()
			r.must("run", "mount", "db")
			r.reads("four")
		})
	}
}

// lastOf is the newest run of an operation.
func (r *rig) lastOf(op string) string {
	r.t.Helper()
	last := ""
	for _, file := range r.journals() {
		id := strings.TrimSuffix(filepath.Base(file), ".db")
		if _, out := r.run("--log-level", "off", "show", id, "-o", "json"); strings.Contains(out, fmt.Sprintf(`"operation": %q`, op)) && id > last {
			last = id
		}
	}
	if last == "" {
		r.t.Fatalf("no run of %s among %v", op, r.journals())
	}
	return last
}

// A restore that does not come to its end puts everything back, whatever failed: what cannot be made before anything is
// stopped, what is in use, what cannot be attached, what does not start on the restored data.
func TestARestoreThatFailsPutsEverythingBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(r *rig) (after func())
		said   string // by the hooks
		text   string
		others int // volumes that are left
	}{
		{name: "no capacity", text: "VolumeLimitExceeded", before: func(r *rig) func() {
			r.setFaults(sandbox.Fault{Action: "CreateVolume", Error: "VolumeLimitExceeded"})
			return r.calm
		}},
		{name: "in use", text: "cannot unmount", said: "stop start two", before: func(r *rig) func() {
			f, err := os.Open(filepath.Join(r.mounts[1], "word"))
			if err != nil {
				r.t.Fatal(err)
			}
			return func() { _ = f.Close() }
		}},
		{name: "it cannot be attached", text: "AttachmentLimitExceeded", said: "stop start two", before: func(r *rig) func() {
			r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded", Count: 1})
			return r.calm
		}},
		{name: "it does not start", text: "post_mounts", said: "stop stop start two", others: 2, before: func(r *rig) func() {
			r.hooksThatTell("one")
			return func() {}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			log := r.hooksThatTell("never")
			r.must("run", "mount", "db")
			r.says("one")
			one := r.takeSet()
			r.says("two")
			_ = log()
			after := tt.before(r)
			r.wants(exitFailed, tt.text, "run", "restore", "db", "--set", one)
			after()
			r.reads("two")
			r.leaves(0, tt.others)
			if got := log(); got != tt.said {
				t.Errorf("the hooks said %q, want %q", got, tt.said)
			}
			if len(r.unfinished()) > 0 {
				t.Errorf("unfinished: %v", r.unfinished())
			}
		})
	}
}

// A restore is killed in each of its steps. Named, it goes on; after a reboot a bare resume takes it back; either way all
// volumes are of one set.
func TestARestoreThatIsKilled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"create-volume CreateVolume", "mark-replaced CreateTags", "detach DetachVolume", "attach AttachVolume", "delete-on-termination ModifyInstanceAttribute"} {
		for _, how := range []string{"resume", "rollback", "reboot"} {
			t.Run(how+" after "+at, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 2, "ext4")
				log := r.hooksThatTell("never")
				r.must("run", "mount", "db")
				r.says("one")
				one := r.takeSet()
				r.says("two")
				_ = log()
				kind, action, _ := strings.Cut(at, " ")
				r.hang(action, 60*time.Second, "after")
				r.killInStep(kind, "run", "restore", "db", "--set", one)
				r.calm()
				r.wants(exitBusy, r.only(), "run", "mount", "db")
				stopped := log() != ""
				want, start := "two", ""
				if stopped {
					start = "start two"
				}
				switch how {
				case "resume":
					want, start = "one", "stop start one"
					if stopped {
						start = "start one"
					}
					r.must("resume", r.only())
					r.leaves(2, 0)
				case "rollback":
					r.must("rollback", r.only())
					r.leaves(0, 0)
				case "reboot":
					r.reboot()
					r.must("resume")
					r.must("run", "mount", "db")
					r.leaves(0, 0)
				}
				r.reads(want)
				if got := log(); how != "reboot" && got != start {
					t.Errorf("the hooks said %q, want %q", got, start)
				}
				if len(r.unfinished()) > 0 {
					t.Errorf("unfinished: %v", r.unfinished())
				}
			})
		}
	}
}

// One volume of several is restored from one snapshot; the others stay as they are. A snapshot of another snapshotter, or one
// that does not say what it is of, is refused.
func TestRestoreOfOneSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.says("one")
	r.takeSet()
	r.says("two")
	of := r.newest(r.mounts[1])
	r.must("run", "restore", "db", "--snapshot", of.ID)
	for i, want := range []string{"two", "one"} {
		if b, _ := os.ReadFile(filepath.Join(r.mounts[i], "word")); string(b) != want {
			t.Errorf("%s says %q, want %q", r.mounts[i], b, want)
		}
	}
	r.leaves(1, 0)
	r.must("rollback", r.lastOf("restore"))
	r.reads("two")
	if err := r.client.CreateTags(context.Background(), []string{of.ID}, map[string]string{"role": "other"}); err != nil {
		t.Fatal(err)
	}
	r.wants(exitFailed, `is not a set of this snapshotter`, "run", "restore", "db", "--snapshot", of.ID)
	if err := r.client.DeleteTags(context.Background(), []string{of.ID}, []string{"mount_point"}); err != nil {
		t.Fatal(err)
	}
	r.wants(exitFailed, "has no tag mount_point", "run", "restore", "db", "--snapshot", of.ID)
	r.wants(exitFailed, "does not exist", "run", "restore", "db", "--snapshot", "snap-00000000000000000")
	r.reads("two")
}

// On a fresh host a restore is a mount of the chosen set, and there is nothing to come back to.
func TestRestoreOnAFreshHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.says("one")
	one := r.takeSet()
	r.says("two")
	r.takeSet()
	r.lose()
	r.must("run", "restore", "db", "--set", one)
	r.reads("one")
	r.leaves(0, 0)
	r.wants(exitFailed, "run unmount db", "rollback", r.lastOf("restore"))
	r.lose()
	r.must("run", "mount", "db", "--set", one)
	r.reads("one")
}

// After the restored volumes were handed over, something works on one of them. A rollback touches none until that one is free.
func TestARollbackOfARestoreWaitsForWhoUsesIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	hook, release := r.waitingHook("start")
	r.must("run", "mount", "db")
	r.says("one")
	one := r.takeSet()
	r.says("two")
	r.hooked(fmt.Sprintf("  hook \"post_mounts\" { command = [%q] }\n", hook))
	r.killWhen("hand-over", func() bool { return r.inHook("start")() && len(r.live("hand-over")) > 0 }, "run", "restore", "db", "--set", one)
	release()
	r.says("three")
	f, err := os.Open(filepath.Join(r.mounts[1], "word"))
	if err != nil {
		t.Fatal(err)
	}
	r.wants(exitFailed, "cannot put the previous volumes back", "rollback", r.only())
	r.reads("three")
	_ = f.Close()
	r.must("rollback", r.only())
	r.reads("two")
	r.leaves(0, 2) // somebody has written to them
}

// hooksThatServe makes the hooks of a service that holds a file of every volume open, and does not start for good on a word. What
// it was stopped and started on is written down. It is not to be stopped as long as there is a file named stuck.
func (r *rig) hooksThatServe(bad string) (log func() string) {
	r.t.Helper()
	file, pid := filepath.Join(r.dir, "log"), filepath.Join(r.dir, "pid")
	end := fmt.Sprintf("[ ! -e %[1]s ] || { p=$(cat %[1]s); kill $p; while [ -e /proc/$p ]; do sleep 0.01; done; rm %[1]s; }\n", pid)
	r.t.Cleanup(func() { _ = exec.Command("sh", "-c", end).Run() })
	start := fmt.Sprintf("w=$(cat %[1]s/word 2>/dev/null)\nsetsid sh -c 'exec 3<%[1]s 4<%[2]s; exec sleep 3600' >/dev/null 2>&1 &\necho $! >%[3]s\n"+
		"while [ $(ls /proc/$!/fd | wc -l) -lt 5 ]; do sleep 0.01; done\necho start $w >>%[4]s\n"+
		"while [ -e %[6]s/gate ]; do sleep 0.02; done\n[ ! -e %[6]s/sticks ] || mv %[6]s/sticks %[6]s/stuck\n[ \"$w\" != %[5]q ]\n", r.mounts[0], r.mounts[1], pid, file, bad, r.dir)
	r.hooked(fmt.Sprintf("  hook \"pre_unmounts\" { command = [%q] }\n  hook \"post_mounts\" { command = [%q] }\n",
		r.script("end", fmt.Sprintf("[ ! -e %s ] || exit 7\necho stop $(cat %s/word) >>%s\n%s\n", filepath.Join(r.dir, "stuck"), r.mounts[0], file, end)), r.script("serve", start)))
	return func() string {
		b, _ := os.ReadFile(file)
		_ = os.Remove(file)
		return strings.Join(strings.Fields(string(b)), " ")
	}
}

// A service that was started on the restored volumes holds them. A rollback stops it, puts the volumes back and starts it on those:
// when it does not start for good, after a crash, and when the restore was finished.
func TestARollbackOfARestoreStopsWhatItStarted(t *testing.T) {
	t.Parallel()
	restored := func(t *testing.T, bad string) (r *rig, one string, log func() string) {
		t.Parallel()
		r = newRig(t, 2, "ext4")
		log = r.hooksThatServe(bad)
		r.must("run", "mount", "db")
		r.says("one")
		one = r.takeSet()
		r.says("two")
		_ = log()
		return r, one, log
	}
	t.Run("it fails", func(t *testing.T) {
		r, one, log := restored(t, "one")
		out := r.wants(exitFailed, "post_mounts", "run", "restore", "db", "--set", one)
		for _, m := range r.mounts {
			if want := fmt.Sprintf("  %s on %s\n", r.attachedAt(m), m); !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
		r.wants(exitFailed, "run `snaptastic run restore db", "rollback", r.lastOf("restore"))
		r.reads("two")
		r.leaves(0, 2)
		if got := log(); got != "stop two start one stop one start two" {
			t.Errorf("the hooks said %q", got)
		}
		if len(r.unfinished()) > 0 {
			t.Errorf("unfinished: %v", r.unfinished())
		}
	})
	t.Run("a crash", func(t *testing.T) {
		r, one, log := restored(t, "never")
		gate := filepath.Join(r.dir, "gate")
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.killWhen("start", func() bool { return strings.Contains(r.peek("log"), "start one") }, "run", "restore", "db", "--set", one)
		_ = os.Remove(gate)
		_ = log()
		r.must("rollback", r.only())
		r.reads("two")
		if got := log(); got != "stop one start two" {
			t.Errorf("the hooks said %q", got)
		}
	})
	t.Run("it cannot be stopped", func(t *testing.T) {
		r, one, log := restored(t, "one")
		stick := filepath.Join(r.dir, "sticks")
		if err := os.WriteFile(stick, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.wants(exitFailed, "cannot stop what uses the restored volumes", "run", "restore", "db", "--set", one)
		r.reads("one")
		if err := os.Remove(filepath.Join(r.dir, "stuck")); err != nil {
			t.Fatal(err)
		}
		_ = log()
		r.must("rollback", r.only())
		r.reads("two")
		if got := log(); got != "stop one start two" {
			t.Errorf("the hooks said %q", got)
		}
	})
	t.Run("it is finished", func(t *testing.T) {
		r, one, log := restored(t, "never")
		r.must("run", "restore", "db", "--set", one)
		r.must("rollback", r.lastOf("restore"))
		r.reads("two")
		if got := log(); got != "stop two start one stop one start two" {
			t.Errorf("the hooks said %q", got)
		}
	})
}

// peek is what a file of the rig's directory has.
func (r *rig) peek(name string) string {
	b, _ := os.ReadFile(filepath.Join(r.dir, name))
	return string(b)
}

// attachedAt is the attached volume of a mount point.
func (r *rig) attachedAt(mountPoint string) string {
	r.t.Helper()
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db", "mount_point": mountPoint})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range vs {
		if v.State == "in-use" {
			return v.ID
		}
	}
	return ""
}

// A volume with another one mounted inside it cannot be replaced alone: that is said before anything is begun, and by the plan. The
// inner one can.
func TestRestoreOfAnOuterVolumeAloneIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.mounts[1] = filepath.Join(r.mounts[0], "in")
	r.hooked("")
	r.must("run", "mount", "db")
	r.says("one")
	one := r.takeSet()
	outer, inner := r.newest(r.mounts[0]).ID, r.newest(r.mounts[1]).ID
	r.says("two")
	r.quiet(func() {
		r.wants(exitFailed, "restore db --set "+one, "plan", "restore", "db", "--snapshot", outer)
		r.wants(exitFailed, "is mounted inside", "run", "restore", "db", "--snapshot", outer)
	})
	r.must("run", "restore", "db", "--snapshot", inner)
	if b, _ := os.ReadFile(filepath.Join(r.mounts[1], "word")); string(b) != "one" {
		t.Errorf("the inner one says %q", b)
	}
	r.wants(0, "until now", "run", "restore", "db", "--set", one)
	r.reads("one")
}
