package render

import (
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A hook that only a rollback has to run notes its intent, finds that it is not needed and says why: the lane is done.
func TestALaneWhoseLastHookIsNotNeededIsDone(t *testing.T) {
	p := twoLanes()
	records := map[plan.StepID]journal.Record{"attach:/a": {State: journal.Done}, "mount:/a": {State: journal.Started, Note: "it is not mounted"},
		"attach:/b": {State: journal.Done}, "mount:/b": {State: journal.Started}}
	for i, want := range []string{"done", "interrupted"} {
		if v := atRest(lanesOf(p, records, records["mount:/a"].StartedAt, false))[i]; v.State != want {
			t.Errorf("%s: %s, want %s", v.Lane, v.State, want)
		}
	}
	if got := stepState(records["mount:/a"], false).text; got != "not needed" {
		t.Errorf("the step is %q", got)
	}
}
