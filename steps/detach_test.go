package steps

import (
	"slices"
	"testing"
	"time"

	"snaptastic/plan"
)

// A drill detaches what it attached without a look before. Whatever somebody did to the volume meanwhile, it ends well.
func TestADrillDetachesWhatSomebodyTookAway(t *testing.T) {
	for name, meddle := range map[string]func(b *bench, id string){
		"nobody did": func(*bench, string) {},
		"detached": func(b *bench, id string) {
			if err := b.env.detachAndWait(b.Context(), b.attempt("meddle"), id, ""); err != nil {
				b.Fatal(err)
			}
		},
		"detached and deleted": func(b *bench, id string) {
			if err := b.env.detachAndWait(b.Context(), b.attempt("meddle"), id, ""); err != nil {
				b.Fatal(err)
			}
			if err := b.cloud.DeleteVolume(b.Context(), id); err != nil {
				b.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			v, _ := do(b, CreateVolume, b.createIn("/mnt/a", empty))
			at, _ := do(b, Attach, AttachIn{Volume: plan.Literal(v), Device: "/dev/sdf", Patience: plan.Duration(5 * time.Second)})
			meddle(b, v.VolumeID)
			in := DetachIn{VolumeRef: VolumeRef{Volume: plan.Literal(v), Attached: plan.Literal(at)}, Device: "/dev/sdf", ThenDeleted: true}
			a := b.attempt("detach")
			var seen []plan.ObservedState
			for range 2 {
				o, err := b.env.detach().Observe(t.Context(), a, in)
				if err != nil {
					t.Fatal(err)
				}
				if seen = append(seen, o.State); o.State == plan.Satisfied {
					break
				}
				if _, err = b.env.detach().Do(t.Context(), a, in); err != nil && plan.ActionOf(err).Action != plan.ActRetry {
					t.Fatal(err)
				}
				a.Resumed = true // the runner says so of a second try
			}
			if !slices.Equal(seen, []plan.ObservedState{plan.Absent, plan.Satisfied}) {
				t.Errorf("it was seen as %v", seen)
			}
		})
	}
}
