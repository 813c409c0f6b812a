package recipe

import (
	"slices"
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
