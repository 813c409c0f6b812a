package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic/journal"
	"snaptastic/steps/recipe"
)

// livesIn starts a process that lives in a folder until it is killed.
func livesIn(t *testing.T, dir string, words ...string) *exec.Cmd {
	t.Helper()
	if words == nil {
		words = []string{"sleep", "300"}
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// namespace is a command in a private mount namespace. The mounts of other tests are in use there until it has let go
// of them: who runs one is not parallel.
func (r *rig) namespace(propagation string, command ...string) []string {
	alone := fmt.Sprintf(`awk -v keep=%s 'index($5, "/tmp/") && index($5, keep) != 1 { print $5 }' /proc/self/mountinfo | xargs -r umount -l; exec "$@"`, r.dir)
	return append([]string{"unshare", "-m", "--propagation", propagation, "sh", "-c", alone, "sh"}, command...)
}

// Whoever uses one volume of a group keeps all of them: none is unmounted from
// under the others, the run ends by itself, and the next snapshot is taken.
func TestAGroupInUseIsLeftAsItIs(t *testing.T) {
	r := newRig(t, 3, "ext4")
	r.must("run", "mount", "db")
	r.precious()
	last := r.mounts[2]
	for _, c := range []struct {
		name string
		use  func(t *testing.T) (says string)
	}{
		{"working directory", func(t *testing.T) string { return fmt.Sprint("pid ", livesIn(t, last).Process.Pid) }},
		{"mount inside", func(t *testing.T) string {
			dir := filepath.Join(last, "inside")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			tool(t, "mount", "-t", "tmpfs", "tmpfs", dir)
			t.Cleanup(func() { tool(t, "umount", dir) })
			return "nested mount " + dir
		}},
		{"another mount namespace", func(t *testing.T) string {
			in := livesIn(t, "/", r.namespace("private", "sleep", "300")...)
			r.eventually("namespace", func() bool {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", in.Process.Pid))
				return err == nil && string(b) == "sleep\n"
			})
			return fmt.Sprint("pid ", in.Process.Pid)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			says := c.use(t)
			before := len(r.calls())
			out := r.wants(exitFailed, says, "run", "unmount", "db")
			if !strings.Contains(out, last+": file system is in use") || !strings.Contains(out, "no volume was changed") {
				t.Errorf("it does not say where, or what became of the others:\n%s", out)
			}
			if got := r.mounted(); len(got) < 3 { // and what is mounted inside
				t.Errorf("mounted are %v", got)
			}
			if did := mutating(r.calls()[before:]); len(did) > 0 {
				t.Errorf("it made %v", did)
			}
			if left := r.unfinished(); len(left) > 0 {
				t.Errorf("unfinished: %v", left)
			}
		})
		r.must("run", "snapshot", "db")
	}
	r.must("run", "unmount", "db")
	if got := r.mounted(); len(got) != 0 {
		t.Errorf("mounted are %v", got)
	}
}

// The hooks that stop a database come first, so what they stop is in nobody's
// way; what they leave running is, and then their post hooks still run.
func TestTheCheckComesAfterTheHooksThatStopTheUsers(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"pre_unmounts", "pre_unmount"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			r.must("run", "mount", "db")
			u := livesIn(t, r.mounts[1])
			over := make(chan struct{})
			go func() { _ = u.Wait(); close(over) }() // reaped, as init would
			after := strings.Replace(hook, "pre", "post", 1)
			stop := r.script("stop", fmt.Sprintf("[ -e %s/stop.now ] || exit 0\nkill %d 2>/dev/null\nwhile kill -0 %d 2>/dev/null; do sleep 0.02; done\nexit 0\n", r.dir, u.Process.Pid, u.Process.Pid))
			note := r.script("note", fmt.Sprintf("echo ran >> %s/after\n", r.dir))
			r.hooked(fmt.Sprintf("  hook %q { command = [%q] }\n  hook %q { command = [%q] }\n", hook, stop, after, note))
			r.wants(0, "in use now, checked again after the hooks", "plan", "unmount", "db")
			r.wants(exitFailed, fmt.Sprint("pid ", u.Process.Pid), "run", "unmount", "db")
			if b, _ := os.ReadFile(filepath.Join(r.dir, "after")); len(b) == 0 || len(r.mounted()) != 2 {
				t.Errorf("%s ran %q times; mounted are %v", after, b, r.mounted())
			}
			if err := os.WriteFile(filepath.Join(r.dir, "stop.now"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			r.must("run", "unmount", "db")
			<-over
			if got := r.mounted(); len(got) != 0 {
				t.Errorf("mounted are %v", got)
			}
		})
	}
}

// Somebody enters between the check and the unmounting: what was unmounted is
// mounted again, nothing was detached, and the run has ended.
func TestAGroupThatIsEnteredMeanwhileIsMountedAgain(t *testing.T) {
	u := newSimulation(t, 3)
	u.done("mount")
	u.write("one")
	u.k.busy = "/m/b"
	res, _ := u.process("unmount", false, 0)
	if res.Outcome != journal.RolledBack || len(res.Failures) != 1 {
		t.Errorf("ended as %q: %v", res.Outcome, res.Failures)
	}
	u.mountedOnce()
	u.data("one")
	u.k.busy = ""
	u.done("unmount")
	u.detachedAll()
}

// One volume by itself that is entered meanwhile: nothing has changed.
func TestAVolumeThatIsEnteredMeanwhileHoldsNobodyUp(t *testing.T) {
	u := newSimulation(t, 1)
	u.done("mount")
	u.k.busy = "/m/a"
	if res, _ := u.process("unmount", false, 0); res.Outcome != journal.Aborted {
		t.Errorf("ended as %q: %v", res.Outcome, res.Failures)
	}
	u.mountedOnce()
	u.k.busy = ""
	u.done("snapshot")
}

// A mount that met something in its way before it made anything holds nothing.
func TestAMountThatWasRefusedHoldsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	if err := os.MkdirAll(r.mounts[1], 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", "-t", "tmpfs", "tmpfs", r.mounts[1])
	t.Cleanup(func() { _ = exec.Command("umount", r.mounts[1]).Run() })
	r.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + r.volume(1, "ext4") + "}\n")
	r.wants(exitFailed, "no volume was changed", "run", "mount", "db")
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	if out := r.must("runs"); !strings.Contains(out, "aborted") {
		t.Errorf("runs:\n%s", out)
	}
	tool(t, "umount", r.mounts[1])
	r.hooked("") // both volumes now: another plan
	r.must("run", "mount", "db")
	if got := r.mounted(); len(got) != 2 {
		t.Errorf("mounted are %v", got)
	}
}

// An unmount that was killed before its first intent keeps nobody from taking a
// snapshot, and ends at the next resume; one that was killed later does.
func TestAnUnmountKilledBeforeItBeganHoldsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	store, err := journal.OpenStore(r.state())
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.client.Metadata().Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spec := recipe.Spec{Name: "db", Consistency: "group", Volumes: []recipe.Volume{{Device: "/dev/sdf", MountPoint: r.mounts[0], FileSystem: "ext4"}}}
	p, err := recipe.Unmount.Plan(recipe.Request{Spec: spec, Target: recipe.Target{InstanceID: id.InstanceID, Region: id.Region, Zone: id.Zone, AccountID: id.AccountID}})
	if err != nil {
		t.Fatal(err)
	}
	run, err := store.Begin(journal.Meta{Run: journal.NewRunID(time.Now()), InstanceID: id.InstanceID, BootID: "b", Created: time.Now()}, p)
	if err != nil {
		t.Fatal(err)
	}
	_ = run.Close() // as a kill leaves it: without an outcome
	if left := r.unfinished(); len(left) != 1 {
		t.Fatalf("unfinished: %v", left)
	}
	r.must("run", "snapshot", "db")
	r.must("resume")
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	r.hang("DetachVolume", time.Minute, "before")
	r.killInStep("detach", "run", "unmount", "db")
	r.calm()
	r.wants(exitBusy, "interrupted", "run", "snapshot", "db")
}

// systemd calls the mount unit active whatever became of the mounts: an unmount
// says which unit to stop. Where the unit is not active it says nothing.
func TestAnUnmountNamesTheUnitThatIsStillActive(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.script("bin/systemctl", fmt.Sprintf("echo \"$@\" >> %s/asked\n[ -e %s/active ] || { echo inactive; exit 3; }\necho active\n", r.dir, r.dir))
	r.pathFirst(filepath.Join(r.dir, "bin"))
	r.must("run", "mount", "db")
	if out := r.must("run", "unmount", "db"); strings.Contains(out, "systemctl") {
		t.Errorf("it names a unit that is not active:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "active"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := r.must("run", "mount", "db"); strings.Contains(out, "systemctl") {
		t.Errorf("a mount speaks of units:\n%s", out)
	}
	out := r.must("run", "unmount", "db")
	for _, want := range []string{"systemctl stop snaptastic-mount@db.service", "systemctl restart snaptastic-mount@db.service"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if asked, _ := os.ReadFile(filepath.Join(r.dir, "asked")); !strings.Contains(string(asked), "is-active -- snaptastic-mount@db.service") {
		t.Errorf("asked: %s", asked)
	}
}
