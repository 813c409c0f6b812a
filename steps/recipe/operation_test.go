package recipe

import (
	"slices"
	"strings"
	"testing"

	"snaptastic/ec2"
)

func TestAnUnknownOperationHasOnlyItsName(t *testing.T) {
	o, known := Named("defragment")
	if known || o.Name != "defragment" || o.Offline || o.LabelsSnapshots || o.Leaves != AsTheyAre || o.UndoneBy != "" {
		t.Errorf("known: %v, %+v", known, o)
	}
}

func TestANameIsTakenOnce(t *testing.T) {
	for _, o := range []Operation{{Name: "mount"}, {Name: "make-snapshots"}, {Name: "new", Aliases: []string{"unmount"}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s %v is registered twice", o.Name, o.Aliases)
				}
			}()
			Register(o)
		}()
	}
}

func TestOnlyItsOwnOptionsAreTaken(t *testing.T) {
	for _, c := range []struct {
		op      *Operation
		options Options
		want    string
	}{
		{Mount, Options{"allow-older": true, "mix-sets": false}, ""},
		{Unmount, Options{"wait": true}, `unmount has no option "wait"`},
		{Snapshot, Options{"wait": true}, ""},
		{Snapshot, Options{"wait": "yes"}, `option "wait" is a string; expected a bool`},
		{Unmount, Options{"force": true}, `unmount has no option "force"`},
	} {
		_, err := c.op.Plan(Request{Spec: spec("/mnt/a"), Target: target, Options: c.options})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %v: %v, want %q", c.op.Name, c.options, err, c.want)
		}
	}
}

// TestOperationsReferToWhatExists: other operations, and permissions that a dry run can try.
func TestOperationsReferToWhatExists(t *testing.T) {
	for _, o := range Operations() {
		if _, known := Named(o.UndoneBy); o.UndoneBy != "" && !known {
			t.Errorf("%s is undone by %q, which does not exist", o.Name, o.UndoneBy)
		}
		if o.Short == "" || o.Compile == nil || len(o.Permissions) == 0 {
			t.Errorf("%s lacks its help, its recipe or its permissions", o.Name)
		}
		for _, p := range o.Permissions {
			if !slices.Contains(ec2.Permissions, p.Action) {
				t.Errorf("%s needs ec2:%s, which no dry run can try", o.Name, p.Action)
			}
		}
	}
}
