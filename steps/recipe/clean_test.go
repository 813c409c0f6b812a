package recipe

import (
	"slices"
	"strings"
	"testing"

	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

func TestACleanUpHasOneLanePerDeletedResource(t *testing.T) {
	decisions := []snapset.Decision{
		{Resource: snapset.SnapshotResource, ID: "snap-1", Delete: true, Tags: "1", ReplacedBy: []string{"snap-9"}},
		{Resource: snapset.SnapshotResource, ID: "snap-2"},
		{Resource: snapset.VolumeResource, ID: "vol-1", Delete: true, Tags: "2"},
		{Resource: snapset.ImageResource, ID: "ami-1", Delete: true, Tags: "3", Snapshots: []string{"snap-3", "snap-4"}, Dependents: []string{"4", "5"}},
	}
	p, err := CleanAll.Plan(Request{Spec: Spec{Name: "db"}, Target: Target{InstanceID: "i-1"}, Decisions: decisions})
	if err != nil {
		t.Fatal(err)
	}
	if p.Operation != "clean all" || p.ResumePolicy != plan.ResumeManually || !p.Irreversible || len(p.Claims()) > 0 {
		t.Errorf("head: %+v", p)
	}
	var got []string
	for _, s := range p.Steps {
		words := []string{s.Lane, string(s.ID)}
		for _, n := range s.Needs {
			words = append(words, "after", string(n))
		}
		got = append(got, strings.Join(words, " "))
		if s.ReadOnly || s.ObserveBy != plan.ByState || s.Scope != plan.Cloud {
			t.Errorf("%s: %+v", s.ID, s)
		}
	}
	want := []string{"snap-1 delete-snapshot:snap-1", "vol-1 delete-volume:vol-1", "ami-1 deregister-image:ami-1",
		"ami-1 delete-snapshot:snap-3 after deregister-image:ami-1", "ami-1 delete-snapshot:snap-4 after deregister-image:ami-1"}
	if !slices.Equal(got, want) {
		t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	again, err := CleanAll.Plan(Request{Spec: Spec{Name: "db"}, Target: Target{InstanceID: "i-1"}, Decisions: decisions})
	if err != nil || again.Digest() != p.Digest() {
		t.Errorf("the same decisions give another plan: %v", err)
	}
	if _, err := CleanAll.Plan(Request{Spec: Spec{Name: "db"}, Decisions: decisions[1:2]}); err == nil {
		t.Error("a plan in which nothing goes")
	}
}
