package engine

import (
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A run that was cut off and resumed has two parts; nothing lies outside of them.
func TestAReportLaysAResumedRunOutInTime(t *testing.T) {
	r := newRig(t, 2)
	id := r.cutOff("mount", "attach:")
	r.must("mount") // goes on with it
	rep, err := r.engine().Report(id)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Parts) != 2 || rep.Parts[1].From.Before(rep.Parts[0].To) || rep.Parts[0].Killed || len(rep.Unknowns) > 0 {
		t.Fatalf("its parts are %+v, unknown is %q", rep.Parts, rep.Unknowns)
	}
	for _, s := range rep.Steps {
		if s.Record.State == journal.Done && len(s.Spans) == 0 {
			t.Errorf("%s is done and was never under way", s.Step.ID)
		}
		for _, span := range s.Spans {
			p := rep.Parts[span.Part]
			if span.To.Before(span.From) || span.From.Before(p.From) || span.To.After(p.To) {
				t.Errorf("%s: %s to %s lies outside of its process, %s to %s", s.Step.ID, span.From, span.To, p.From, p.To)
			}
		}
	}
	actions := map[string]int{}
	for _, c := range rep.Calls {
		actions[c.Action]++
	}
	if actions["CreateVolume"] != 2 || actions["AttachVolume"] != 2 {
		t.Errorf("the calls are %v", actions)
	}
}

// A freeze is a window over all lanes of its section; what was frozen lies within.
func TestAReportShowsTheFreeze(t *testing.T) {
	r := newRig(t, 2)
	r.must("mount")
	r.must("snapshot")
	rep, err := r.engine().Report(r.ends[len(r.ends)-1].Run)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Windows) != 1 || len(rep.Windows[0].Lanes) != 2 {
		t.Fatalf("its windows are %+v", rep.Windows)
	}
	w := rep.Windows[0]
	var thaw plan.Facts
	for _, s := range rep.Steps {
		if s.Step.ID == w.Steps[len(w.Steps)-1] {
			thaw = *s.Record.Facts
		}
	}
	if w.FrozenSeconds == 0 || w.FrozenSeconds != thaw.FrozenSeconds || !w.FrozenTo.Equal(thaw.ThawedAt) || w.FrozenFrom.Before(w.From) || w.FrozenTo.After(w.To) {
		t.Errorf("the window is %+v, thaw says %+v", w, thaw)
	}
}
