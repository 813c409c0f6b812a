package runner

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A run that failed without having changed anything ends by itself; one that
// may have changed something, or has to be decided on, does not.
func TestARunThatChangedNothingEnds(t *testing.T) {
	boom, refused := plan.Terminal("", errors.New("boom")), plan.Refused("", errors.New("in use"))
	for _, tt := range []struct {
		name    string
		steps   []string
		fail    map[string]error
		things  map[string]string
		outcome journal.Outcome
	}{
		{name: "a look that failed", steps: []string{"read:a", "state:b after=a"}, fail: map[string]error{"a:do": boom}, outcome: journal.Aborted},
		{name: "something in the way", steps: []string{"state:a"}, things: map[string]string{"a": "enemy"}, outcome: journal.Aborted},
		{name: "something in the way after an adoption", steps: []string{"state:a", "state:b after=a"}, things: map[string]string{"a": "somebody", "b": "enemy"}, outcome: journal.Aborted},
		{name: "hooks around a refusal", steps: []string{"hook:a opens=b", "state:c in=b", "hook:z closes=b"}, fail: map[string]error{"c:do": refused}, outcome: journal.Aborted},
		{name: "a refused try beside an effect", steps: []string{"state:a", "state:b"}, fail: map[string]error{"b:do": refused}, outcome: journal.RunFailed},
		{name: "a try that failed, who knows how far", steps: []string{"state:a"}, fail: map[string]error{"a:do": boom}, outcome: journal.RunFailed},
		{name: "an effect before the failure", steps: []string{"token:a", "read:b after=a"}, fail: map[string]error{"b:do": boom}, outcome: journal.RunFailed},
		{name: "an effect in another lane", steps: []string{"state:a lane=1", "read:b lane=2"}, fail: map[string]error{"b:do": boom}, outcome: journal.RunFailed},
		{name: "an open window that was closed again", steps: []string{"open:o opens=x", "shot:s in=x", "close:c closes=x"}, fail: map[string]error{"o:do": boom}, outcome: journal.RunFailed},
		{name: "an operator is needed", steps: []string{"read:a"}, fail: map[string]error{"a:do": plan.NeedsOperator("", errors.New("boom"))}, outcome: journal.RunFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, scenario(t, map[string]plan.SectionKind{"b": plan.Bracket, "x": plan.Atomic}, tt.steps...))
			b.w.fail = tt.fail
			maps.Copy(b.w.things, tt.things)
			if res, _ := b.do(false, 0); res.Outcome != tt.outcome {
				t.Errorf("ended as %q, want %q: %s", res.Outcome, tt.outcome, states(res))
			}
		})
	}
}

// A group's volumes are taken off together or not at all: what was done is
// undone as long as not all have committed, and never afterwards.
func TestAFailureIsUndoneUntilAllHaveCommitted(t *testing.T) {
	boom := plan.Terminal("", errors.New("boom"))
	for _, tt := range []struct {
		name, fail string
		outcome    journal.Outcome
		left       int
		undoing    int
	}{
		{name: "one of them fails", fail: "b:do", outcome: journal.RolledBack, left: 0, undoing: 1},
		{name: "what comes after fails", fail: "c:do", outcome: journal.RunFailed, left: 2, undoing: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := scenario(t, nil, "state:a lane=1 commits", "state:b lane=2 commits", "state:c after=a after=b")
			p.UndoOnFailure = true
			b := newBench(t, p)
			b.w.fail[tt.fail] = boom
			undoing := 0
			b.conf = func(c *Config) { c.Undoing = func() error { undoing++; return nil } }
			res, _ := b.do(false, 0)
			if res.Outcome != tt.outcome || len(b.w.things) != tt.left || undoing != tt.undoing {
				t.Errorf("ended as %q, left %v, said %d times that it undoes", res.Outcome, b.w.things, undoing)
			}
			if len(res.Failures) != 1 || !strings.Contains(res.Failures[0].Err.Error(), "boom") {
				t.Errorf("failures: %v", res.Failures)
			}
		})
	}
}

// Nobody but an operator goes on with such a run, and there is nothing to go on
// with.
func TestAStopBeforeTheFirstIntentEndsARunThatWouldNotBeResumed(t *testing.T) {
	for _, tt := range []struct {
		resumePolicy plan.ResumePolicy
		first        string
		outcome      journal.Outcome
	}{
		{plan.ResumeManually, "read:a", journal.Aborted},
		{plan.ResumeManually, "state:a", journal.Interrupted},
		{plan.ResumeManually, "hook:a", journal.Interrupted},
		{plan.ResumeAnyBoot, "read:a", journal.Interrupted},
	} {
		t.Run(string(tt.resumePolicy)+" "+tt.first, func(t *testing.T) {
			p := scenario(t, nil, tt.first, "state:b after=a")
			p.ResumePolicy = tt.resumePolicy
			b := newBench(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			run, err := b.store.Begin(journal.Meta{Run: b.run, BootID: b.w.boot}, p)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			h := b.w.handlers()
			delete(h, readDef.Kind)
			plan.Bind(h, readDef, plan.Funcs[in, string]{Do: func(ctx context.Context, _ plan.Attempt, _ in) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}})
			res := Execute(ctx, Config{Plan: p, Run: b.run, Journal: run, Handlers: h, BootID: b.w.boot,
				Observe: func(e Event) {
					if e.Step.ID == "a" && e.Kind == Starting {
						cancel()
					}
				}})
			if res.Outcome != tt.outcome || len(b.w.things) > 1 {
				t.Errorf("ended as %q, want %q: %s", res.Outcome, tt.outcome, states(res))
			}
		})
	}
}
