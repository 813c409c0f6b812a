package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/steps/recipe"
)

// hooked is a rig of two volumes whose hooks each write a line to a diary;
// more are attributes for some of them.
func hooked(t *testing.T, more map[string]string) *rig {
	r := newRig(t, 2, "ext4")
	program := filepath.Join(r.dir, "hook.sh")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$SNAPTASTIC_HOOK $(basename \"$SNAPTASTIC_MOUNT_POINT\") $SNAPTASTIC_VOLUME_ID\" >>"+r.hookLog()+"\ncat >"+r.dir+"/stdin.$SNAPTASTIC_HOOK\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var hcl strings.Builder
	hcl.WriteString("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4") + r.volume(1, "ext4"))
	for _, name := range recipe.HookNames {
		command, attributes := more[name], ""
		if !strings.Contains(command, "command") {
			attributes, command = command, fmt.Sprintf("command = [%q]", program)
		}
		fmt.Fprintf(&hcl, "  hook %q {\n    %s\n    %s\n  }\n", name, command, attributes)
	}
	hcl.WriteString("}\n")
	r.declare(hcl.String())
	return r
}

func (r *rig) hookLog() string { return filepath.Join(r.dir, "diary") }

// wrote takes the diary's lines, each without the volume's id.
func (r *rig) wrote() []string {
	r.t.Helper()
	b, err := os.ReadFile(r.hookLog())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = os.Remove(r.hookLog())
	var out []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 3 {
			f = f[:2]
		}
		out = append(out, strings.Join(f, " "))
	}
	return out
}

// The plural hooks run once and embrace all; the singular ones run once for
// each volume and embrace what is done to it.
func TestTheTwelveHooksRunInTheirOrder(t *testing.T) {
	t.Parallel()
	r := hooked(t, nil)
	for _, tt := range []struct{ op, one, all string }{{"mount", "mount", "mounts"}, {"snapshot", "snapshot", "snapshots"}, {"unmount", "unmount", "unmounts"}} {
		r.must("run", tt.op, "db")
		got := r.wrote()
		if len(got) != 6 || got[0] != "pre_"+tt.all || got[5] != "post_"+tt.all {
			t.Fatalf("%s wrote %q", tt.op, got)
		}
		for _, v := range []string{"a", "b"} {
			pre, post := slices.Index(got, "pre_"+tt.one+" "+v), slices.Index(got, "post_"+tt.one+" "+v)
			if pre < 0 || post < pre {
				t.Errorf("%s of %s wrote %q", tt.op, v, got)
			}
		}
		for _, when := range []string{"pre_", "post_"} {
			for _, hook := range []string{when + tt.one, when + tt.all} {
				b, err := os.ReadFile(filepath.Join(r.dir, "stdin."+hook))
				if err != nil || !strings.Contains(string(b), `"operation":"`+tt.op+`"`) || !strings.Contains(string(b), `"mount_point":"`+r.mounts[1]+`"`) {
					t.Errorf("%s was told %s, %v", hook, b, err)
				}
			}
		}
	}
}

// A hook that fails stops its lane only, the other one is mounted; with
// on_failure = "continue" it stops nothing.
func TestAHookThatFailsStopsItsLaneUnlessItMayFail(t *testing.T) {
	t.Parallel()
	fail := `command = ["sh", "-c", "test $(basename \"$SNAPTASTIC_MOUNT_POINT\") != a"]`
	r := hooked(t, map[string]string{"pre_mount": fail})
	code, out := r.run("run", "mount", "db")
	if got := r.mounted(); code != exitSomeLanes || len(got) != 1 || got[0] != r.mounts[1] {
		t.Errorf("exit %d, mounted %v\n%s", code, got, out)
	}
	if got := r.wrote(); slices.Contains(got, "post_mount a") || slices.Contains(got, "post_mounts") || !slices.Contains(got, "post_mount b") {
		t.Errorf("a post hook of success ran without it: %q", got)
	}

	r = hooked(t, map[string]string{"pre_mount": fail + "\n on_failure = \"continue\""})
	out = r.must("run", "mount", "db")
	if len(r.mounted()) != 2 || !strings.Contains(out, "failure ignored") {
		t.Errorf("mounted %v\n%s", r.mounted(), out)
	}
	if got := r.wrote(); !slices.Contains(got, "post_mounts") {
		t.Errorf("wrote %q", got)
	}
}

// A snapshot that fails runs its post hooks all the same: what they started,
// they end.
func TestPostSnapshotHooksRunAfterAFailure(t *testing.T) {
	t.Parallel()
	r := hooked(t, map[string]string{"pre_snapshot": `command = ["false"]`})
	r.must("run", "mount", "db")
	r.wrote()
	code, out := r.run("run", "snapshot", "db")
	if code != exitFailed || len(r.snapshots()) != 0 {
		t.Errorf("exit %d, %d snapshots\n%s", code, len(r.snapshots()), out)
	}
	got := r.wrote()
	slices.Sort(got)
	if want := []string{"post_snapshot a", "post_snapshot b", "post_snapshots", "pre_snapshots"}; !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q\n%s", got, want, out)
	}
}

// A hook that hangs is ended at its time-out, with all that it started.
func TestAHangingHookIsEndedWithItsGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	pids := filepath.Join(r.dir, "pids")
	script := fmt.Sprintf(`trap '' TERM; sleep 300 & echo $! >>%s; echo $$ >>%s; wait; sleep 300`, pids, pids)
	r.declare("snapshotter \"db\" {\n filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4") +
		fmt.Sprintf("hook \"pre_mounts\" {\n command = [\"sh\", \"-c\", %q]\n timeout = \"5s\"\n }\n}\n", script))
	code, out := r.run("run", "mount", "db")
	if code != exitFailed || len(r.mounted()) != 0 || !strings.Contains(out, "pre_mounts") || !strings.Contains(out, "timed out after 5 s") {
		t.Errorf("exit %d\n%s", code, out)
	}
	plain(t, out)
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(b))); n != 2 {
		t.Errorf("%d processes, want 2", n)
	}
	for _, f := range strings.Fields(string(b)) {
		pid, _ := strconv.Atoi(f)
		r.eventually("end of process "+f, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	}
	if did := mutating(r.calls()); len(did) > 0 {
		t.Errorf("it made %v", did)
	}
}

// A held hook that did not hold to the end: no label, no snapshot, exit 1. With on_failure = "continue" it does not count.
func TestAHeldHookThatLostItsHoldFailsTheSnapshot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, hook, script, message string }{
		{"fails once it is released", "pre_snapshots", "echo ready; cat >/dev/null; exit 3", "exit status 3"},
		{"fails once it is released, of one volume", "pre_snapshot", "echo ready; cat >/dev/null; exit 3", "exit status 3"},
		{"ends early", "pre_snapshots", "read context; echo ready; sleep 1", "ended before"},
		{"dies of a signal", "pre_snapshots", "echo ready; cat >/dev/null; kill -TERM $$", "signal: terminated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4")
			settings := func(more string) string {
				return "snapshotter \"db\" {\n filter_tags = { role = \"db\" }\n" + r.volume(0, "ext4") + r.volume(1, "ext4") +
					fmt.Sprintf("hook %q {\n command = [\"sh\", \"-c\", %q]\n hold = true\n %s }\n}\n", tt.hook, tt.script, more)
			}
			r.declare(settings(""))
			r.must("run", "mount", "db")
			r.hang("CreateSnapshots", 2*time.Second, "before")
			code, out := r.run("run", "snapshot", "db")
			plain(t, out)
			if code != exitFailed || !strings.Contains(out, tt.message) || !strings.Contains(out, tt.hook) {
				t.Errorf("exit %d, want %d and %q\n%s", code, exitFailed, tt.message, out)
			}
			r.restorable(0)
			for _, m := range r.mounts {
				r.writable(m)
			}
			if left := r.unfinished(); len(left) > 0 {
				t.Errorf("unfinished: %v", left)
			}

			r.declare(settings("on_failure = \"continue\"\n"))
			r.must("run", "snapshot", "db")
			r.restorable(2)
		})
	}
}

// hookLogLines are the hooks that ran since it was last asked; none is no error.
func (r *rig) hookLogLines() string {
	b, _ := os.ReadFile(r.hookLog())
	_ = os.Remove(r.hookLog())
	return strings.Join(strings.Fields(string(b)), " ")
}

// changing is a rig of two volumes with hooks around the whole mount.
func changing(t *testing.T, pre, post string) *rig {
	r := newRig(t, 2, "ext4")
	hook := r.script("hook", "echo $SNAPTASTIC_HOOK >>"+r.hookLog()+"\n")
	r.hooked(fmt.Sprintf("  hook \"pre_mounts\" {\n command = [%q]\n %s\n }\n  hook \"post_mounts\" {\n command = [%q]\n %s\n }\n", hook, pre, hook, post))
	return r
}

// A mount that finds everything mounted stops and starts nothing. After a reboot, and when one volume is missing, the hooks
// run; and they always run where the settings say so.
func TestAMountThatChangesNothingRunsNoHooks(t *testing.T) {
	t.Parallel()
	r := changing(t, "", "")
	both := "pre_mounts post_mounts"
	expect := func(what, want string) {
		t.Helper()
		if got := r.hookLogLines(); got != want {
			t.Errorf("%s ran %q, want %q", what, got, want)
		}
	}
	r.must("run", "mount", "db")
	expect("the first mount", both)
	r.wants(0, "nothing to change", "plan", "mount", "db")
	r.must("run", "mount", "db")
	expect("a mount without anything to do", "")
	r.reboot()
	r.must("run", "mount", "db")
	expect("the mount after a reboot", both)
	tool(t, "umount", r.mounts[1])
	r.must("run", "mount", "db")
	expect("the mount of one volume", both)
	script := filepath.Join(r.dir, "hook")
	r.hooked(fmt.Sprintf("  hook \"pre_mounts\" {\n command = [%q]\n when = \"always\"\n }\n  hook \"post_mounts\" {\n command = [%q]\n when = \"success\"\n }\n", script, script))
	r.must("run", "mount", "db")
	expect("a mount with the old way", both)
	r.hooked(fmt.Sprintf("  hook \"pre_mounts\" {\n command = [%q]\n when = \"always\"\n }\n  hook \"post_mounts\" {\n command = [%q]\n }\n", script, script))
	r.must("run", "mount", "db")
	expect("a post hook whose pre hook always runs", both)
}

// What the pre hook stopped is started again: by a resume after a kill between the hooks, and by a mount with corrected
// settings that takes the place of one whose post hook failed.
func TestPostMountsRunsWherePreMountsRan(t *testing.T) {
	t.Parallel()
	t.Run("killed between them", func(t *testing.T) {
		t.Parallel()
		r := changing(t, "", "")
		r.hang("ModifyInstanceAttribute", 60e9, "after")
		r.killInStep("delete-on-termination", "run", "mount", "db")
		r.calm()
		r.must("resume")
		if got := r.hookLogLines(); got != "pre_mounts post_mounts" {
			t.Errorf("ran %q", got)
		}
	})
	t.Run("the post hook failed", func(t *testing.T) {
		t.Parallel()
		r := changing(t, "", "")
		settings, err := os.ReadFile(r.settings)
		if err != nil {
			t.Fatal(err)
		}
		r.hooked(fmt.Sprintf("  hook \"pre_mounts\" { command = [%q] }\n  hook \"post_mounts\" { command = [\"false\"] }\n", filepath.Join(r.dir, "hook")))
		r.wants(1, "post_mounts", "run", "mount", "db")
		r.declare(string(settings))
		r.must("run", "mount", "db")
		if got := r.hookLogLines(); !strings.HasSuffix(got, "post_mounts") {
			t.Errorf("ran %q", got)
		}
		r.must("run", "mount", "db")
		if got := r.hookLogLines(); got != "" {
			t.Errorf("and once more %q", got)
		}
	})
}
