package steps

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// snapshotCloud has snapshots, and waits for none.
type snapshotCloud struct {
	Cloud
	all    []ec2.Snapshot
	failed bool
	calls  int
	waits  []string
}

func (c *snapshotCloud) EachSnapshot(_ context.Context, _ ec2.SnapshotQuery, visit func(ec2.Snapshot)) error {
	c.calls++
	for _, s := range c.all {
		visit(s)
	}
	return nil
}

func (c *snapshotCloud) WaitSnapshot(_ context.Context, id string, _ func(ec2.Snapshot) (bool, error), _ func(ec2.Snapshot)) (ec2.Snapshot, error) {
	c.waits = append(c.waits, id)
	if c.failed {
		return ec2.Snapshot{}, plan.WithHint("see why", &ec2.Fault{Class: ec2.Invalid, Message: "the snapshot failed"})
	}
	return ec2.Snapshot{ID: id, VolumeSize: 30}, nil
}

func TestAProblemThatWasFixedIsSeenOnResume(t *testing.T) {
	then := snaps("1 a R1/2", "1 b R1/2 archive")
	cases := []struct {
		name string
		now  []ec2.Snapshot
		want string
	}{
		{"nothing changed", then, "! cannot restore /mnt/b: its snapshot snap-2 of the newest set is archived"},
		{"it was restored from the archive", snaps("1 a R1/2", "1 b R1/2"), "snap-2"},
		{"a newer set came, and the other lane has the old one", snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2"), "! cannot restore /mnt/b: its snapshot snap-2 of the newest set is archived"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := WaitSnapshotIn{MountPoint: "/mnt/b", Search: Search{Group: true}, Found: plan.Literal(FoundVolume{}),
				Choices: plan.Literal(Choices(snapset.Choose(snapset.Request{MountPoints: []string{"/mnt/a", "/mnt/b"}, Group: true}, then)))}
			w := &Env{Cloud: &snapshotCloud{all: c.now}}
			got, err := w.waitSnapshot().Do(t.Context(), attempt("wait-snapshot"), in)
			said := got.SnapshotID
			if err != nil {
				said = "! " + err.Error()
			}
			if said != c.want {
				t.Errorf("%s, want %s", said, c.want)
			}
			if v := plan.ActionOf(err); err != nil && (v.Action != plan.ActTerminal || plan.HintOf(err) == "") {
				t.Errorf("verdict %+v", v)
			}
		})
	}
}

func TestWaitSnapshotPerLane(t *testing.T) {
	choices := plan.Literal(Choices{{MountPoint: "/mnt/a", SnapshotID: "snap-1", Size: 20}, {MountPoint: "/mnt/b", SnapshotID: "snap-2", Pending: true}, {MountPoint: "/mnt/c", Create: true}})
	absent := plan.Literal(FoundVolume{})
	set := plan.Literal(SnapshotSet{Run: "R", Snapshots: []Taken{{SnapshotID: "snap-9", MountPoint: "/mnt/a"}}})
	cases := []struct {
		name  string
		in    WaitSnapshotIn
		fails bool
		waits string
		want  Choice
		err   plan.Action
	}{
		{"a completed one", WaitSnapshotIn{MountPoint: "/mnt/a", Found: absent, Choices: choices}, false, "", Choice{MountPoint: "/mnt/a", SnapshotID: "snap-1", Size: 20}, ""},
		{"a pending one", WaitSnapshotIn{MountPoint: "/mnt/b", Found: absent, Choices: choices}, false, "snap-2", Choice{MountPoint: "/mnt/b", SnapshotID: "snap-2", Size: 30}, ""},
		{"a pending one that fails", WaitSnapshotIn{MountPoint: "/mnt/b", Found: absent, Choices: choices}, true, "snap-2", Choice{}, plan.ActTerminal},
		{"nothing, for a new volume", WaitSnapshotIn{MountPoint: "/mnt/c", Found: absent, Choices: choices}, false, "", Choice{MountPoint: "/mnt/c", Create: true}, ""},
		{"nothing, since the volume is there", WaitSnapshotIn{MountPoint: "/mnt/z", Found: plan.Literal(FoundVolume{Found: true})}, false, "", Choice{MountPoint: "/mnt/z"}, ""},
		{"nothing, since nobody could look", WaitSnapshotIn{MountPoint: "/mnt/a", Found: absent}, false, "", Choice{}, plan.ActSkip},
		{"the one just taken", WaitSnapshotIn{MountPoint: "/mnt/a", Taken: set}, false, "snap-9", Choice{MountPoint: "/mnt/a", SnapshotID: "snap-9", Run: "R", Size: 30}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cloud := &snapshotCloud{failed: c.fails}
			got, err := (&Env{Cloud: cloud}).waitSnapshot().Do(t.Context(), attempt("wait-snapshot"), c.in)
			if !reflect.DeepEqual(got, c.want) || strings.Join(cloud.waits, " ") != c.waits || cloud.calls > 0 {
				t.Errorf("%+v after waiting for %v and %d looks; want %+v after %q", got, cloud.waits, cloud.calls, c.want, c.waits)
			}
			if (err != nil) != (c.err != "") || (err != nil && plan.ActionOf(err).Action != c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if c.fails && !strings.Contains(plan.HintOf(err), "see why; run `snaptastic abandon`") {
				t.Errorf("hint %q", plan.HintOf(err))
			}
		})
	}
}
