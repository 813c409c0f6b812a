package render

import (
	"errors"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

func TestACleanUpIsSummedUpNotListed(t *testing.T) {
	p := &plan.Plan{Operation: "clean snapshots", Irreversible: true}
	records := map[plan.StepID]journal.Record{}
	for id, r := range map[string]journal.Record{
		"a": {State: journal.Done, Seen: plan.Absent}, "b": {State: journal.Done, Seen: plan.Absent}, "c": {State: journal.Done, Seen: plan.Satisfied},
		"d": {State: journal.Skipped, Note: "not deleted: its tags were changed after the plan was made"}, "e": {State: journal.Failed, Error: "locked"}, "f": {},
	} {
		p.Lanes = append(p.Lanes, plan.Lane{ID: id})
		p.Steps = append(p.Steps, plan.Step{ID: plan.StepID("delete-snapshot:" + id), Lane: id, Kind: "delete-snapshot"})
		if r.State != "" {
			records[plan.StepID("delete-snapshot:"+id)] = r
		}
	}
	var out strings.Builder
	end := RunResult{RunResult: engine.RunResult{Run: "R", Plan: p, Result: runner.Result{Outcome: journal.RunFailed, Records: records, Done: []string{"a", "b", "c"},
		Failures: []runner.Failure{{Step: "delete-snapshot:e", Lane: "e", Err: errors.New("locked")}}}}, Now: time.Now()}
	if err := Summary(&out, end, Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 deleted, 1 already deleted, 1 skipped, 1 refused, 1 not reached", "delete-snapshot:d  not deleted: its tags were changed",
		"failed (3 of 6 done)", "snaptastic resume R", "snaptastic abandon R"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "rollback") || strings.Contains(out.String(), "delete-snapshot:a") {
		t.Errorf("it says too much:\n%s", out.String())
	}
}
