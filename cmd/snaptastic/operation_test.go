package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// parks is set where the program has one more operation, park, which unmounts each volume and runs a program. It is registered
// here and nowhere else, which is all that a new operation needs.
const parks = "SNAPTASTIC_TEST_PARK"

func init() {
	if os.Getenv(parks) == "" {
		return
	}
	program := recipe.Flag{Name: "with", Default: "true", Help: "run this `program` for each volume"}
	recipe.Register(recipe.Operation{
		Name: "park", Aliases: []string{"park-volumes"}, Short: "Unmount each volume and run a program", Flags: []recipe.Flag{program},
		Resume: plan.ResumeAnyBoot, Leaves: recipe.Unmounted, UndoneBy: "mount",
		Question: func(r recipe.Request) string {
			return fmt.Sprintf("Park %d volumes of %s?", len(r.Spec.Volumes), r.Spec.Name)
		},
		Permissions: []recipe.Permission{{Action: "DescribeVolumes", Try: recipe.Attached}},
		Compile: func(b *plan.Builder, r recipe.Request) {
			for _, v := range r.Spec.Volumes {
				lane, unmount := plan.InLane(v.MountPoint), plan.StepID("unmount:"+v.MountPoint)
				found := plan.Add(b, steps.FindVolume, plan.StepID("find-volume:"+v.MountPoint),
					steps.FindVolumeIn{For: steps.ToUnmount, Device: v.Device, MountPoint: v.MountPoint, FilterTags: r.Spec.FilterTags}, lane)
				plan.Add(b, steps.Unmount, unmount, steps.UnmountIn{VolumeRef: steps.VolumeRef{Found: found}, MountPoint: v.MountPoint, Device: v.Device}, lane)
				plan.Add(b, steps.Hook, plan.StepID("park:"+v.MountPoint), steps.HookIn{Name: "park", Command: []string{r.Options.Text(program), v.MountPoint},
					Timeout: plan.Duration(time.Minute), Operation: "park", Snapshotter: r.Spec.Name, Of: v.MountPoint,
					Volumes: []steps.HookVolume{{Device: v.Device, MountPoint: v.MountPoint, Found: found}}}, lane, plan.After(unmount))
			}
		},
	})
}

// An operation that is registered can be planned, run, killed, resumed and rolled back, and its flags, its question, its
// permissions, its alias and what undoes it count.
func TestARegisteredOperationIsPlannedRunAndResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.env = append(r.env, parks+"=1")
	r.must("run", "mount", "db")
	diary, closed, broken := filepath.Join(r.dir, "diary"), filepath.Join(r.dir, "closed"), filepath.Join(r.dir, "broken")
	program := r.script("program", fmt.Sprintf("echo \"$(basename $1)\" >> %s\nwhile [ -e %s ]; do sleep 0.02; done\n[ ! -e %s ] || [ $(basename $1) = a ]\n", diary, closed, broken))
	touch := func(file string) (remove func()) {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Remove(file) }
	}
	parked := func() string {
		b, _ := os.ReadFile(diary)
		_ = os.Remove(diary)
		return strings.Join(slices.Sorted(slices.Values(strings.Fields(string(b)))), " ")
	}

	r.quiet(func() {
		r.wants(0, r.mounts[1]+`"]`, "plan", "park", "db", "--with", program)
		r.wants(exitUsage, "unknown flag: --wait", "plan", "park", "db", "--wait")
		r.wants(exitUsage, "copy, mount, restore, snapshot, unmount, verify, warm or park", "run", "bark", "db")
		cmd := r.command("run", "park", "db", "--with", program)
		cmd.Args = slices.DeleteFunc(cmd.Args, func(word string) bool { return word == "--yes" })
		if code, _, stderr := r.apart(cmd); code != exitUsage || !strings.Contains(stderr, "park db") {
			t.Errorf("it does not ask first: exit %d\n%s", code, stderr)
		}
	})

	open := touch(closed)
	r.killWhen("programs", func() bool { b, _ := os.ReadFile(diary); return strings.Count(string(b), "\n") == 2 }, "run", "park", "db", "--with", program)
	open()
	_ = parked()
	id := r.only()
	r.wants(0, "run "+id+" of this operation is unfinished", "plan", "park", "db", "--with", program)
	r.must("resume")
	if got := parked(); got != "a b" || len(r.unfinished()) > 0 || len(r.mounted()) > 0 {
		t.Errorf("resumed, it ran for %q; unfinished are %v, mounted %v", got, r.unfinished(), r.mounted())
	}
	r.wants(exitFailed, "run mount db", "rollback", id)

	r.must("run", "mount", "db")
	fix := touch(broken)
	r.wants(exitSomeLanes, "1 of 2 volumes done", "park-volumes", "db", "--with", program)
	r.wants(0, "nothing to resume", "resume") // it failed, and was not interrupted
	fix()
	_ = parked()
	r.must("resume", r.only())
	if got := parked(); got != "b" || len(r.unfinished()) > 0 {
		t.Errorf("what had failed was %q; unfinished are %v", got, r.unfinished())
	}

	r.must("run", "mount", "db")
	touch(broken)
	r.wants(exitSomeLanes, "", "run", "park", "db", "--with", program)
	r.must("rollback", r.only())
	if got := r.mounted(); len(got) != 2 {
		t.Errorf("rolled back, mounted are %v", got)
	}
}
