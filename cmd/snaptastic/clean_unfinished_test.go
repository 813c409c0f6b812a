package main

import (
	"slices"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// What an unfinished unmount has let go of its rollback attaches again: until
// somebody has decided on that run, no clean-up deletes it.
func TestACleanUpLeavesARunItsWayBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.declare(strings.ReplaceAll(policySettings, "DIR", r.dir))
	r.must("run", "mount", "db")
	before := slices.Sorted(slices.Values(r.mounted()))
	r.setFaults(sandbox.Fault{Action: "DetachVolume", Params: map[string]string{"VolumeId": r.volumes()[r.dir+"/mnt/b"].ID}, Error: "OperationNotPermitted"})
	if code, out := r.run("run", "unmount", "db"); code != exitSomeLanes {
		t.Fatalf("the unmount ends with %d\n%s", code, out)
	}
	r.setFaults()
	run := r.unfinished()[0]
	if out := r.must("clean", "volumes", "--unsaved"); !strings.Contains(out, "run "+run+" of "+r.dir+"/mnt/a is unfinished on this machine") {
		t.Errorf("it does not say why the volume stays:\n%s", out)
	}
	r.must("rollback", run)
	if now := slices.Sorted(slices.Values(r.mounted())); !slices.Equal(now, before) {
		t.Errorf("mounted are %v and were %v", now, before)
	}
	r.must("run", "unmount", "db")
	if out := r.must("clean", "volumes", "--unsaved"); !strings.Contains(out, "2 volumes") {
		t.Errorf("what nobody needs any more stays:\n%s", out)
	}
}
