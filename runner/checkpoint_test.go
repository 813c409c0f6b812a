package runner

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A long step that only reads goes on at its mark: after a stop, after a failure, and when it is done once more.
func TestAStepGoesOnAtItsMark(t *testing.T) {
	type in struct{}
	long := plan.Def[in, string]{Kind: "long", Scope: plan.Cloud, ReadOnly: true}
	after := plan.Def[in, string]{Kind: "after", Scope: plan.Cloud, ReadOnly: true}
	builder := plan.NewBuilder(plan.Plan{Operation: "warm", Snapshotter: "s", ResumePolicy: plan.ResumeNextRun,
		Lanes: []plan.Lane{{ID: "L", Claims: []string{"warm:L"}}}})
	plan.Add(builder, long, "long", in{}, plan.InLane("L"))
	plan.Add(builder, after, "after", in{}, plan.InLane("L"), plan.After("long"))
	p, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, p)
	var marks []string
	var step func(ctx context.Context) error
	b.conf = func(c *Config) {
		c.Handlers = plan.Handlers{}
		plan.Bind(c.Handlers, long, plan.Funcs[in, string]{Do: func(ctx context.Context, a plan.Attempt, _ in) (string, error) {
			marks = append(marks, string(a.Mark))
			a.Checkpoint(json.RawMessage(`{"at":` + string(rune('0'+len(marks))) + `}`))
			return "read", step(ctx)
		}})
		plan.Bind(c.Handlers, after, plan.Funcs[in, string]{Do: func(context.Context, plan.Attempt, in) (string, error) {
			if len(marks) == 3 {
				return "", errors.New("boom")
			}
			return "", nil
		}})
	}
	for i, c := range []struct {
		step func(ctx context.Context) error
		want journal.Outcome
	}{
		{func(ctx context.Context) error { b.w.failpoint.cancel(); <-ctx.Done(); return ctx.Err() }, journal.Interrupted},
		{func(context.Context) error { return errors.New("boom") }, journal.RunFailed}, // not aborted: the mark is worth something
		{func(context.Context) error { return nil }, journal.RunFailed},                // of the step after it
		{func(context.Context) error { return nil }, journal.RunDone},
	} {
		step = c.step
		if res, _ := b.do(false, 0); res.Outcome != c.want {
			t.Errorf("process %d ended as %s, want %s: %s", i, res.Outcome, c.want, states(res))
		}
		unfinished, err := b.store.Unfinished()
		if err != nil || c.want != journal.RunDone && (len(unfinished) != 1 || !unfinished[0].Idle) {
			t.Errorf("process %d: it keeps others out: %+v, %v", i, unfinished, err)
		}
	}
	want := []string{``, `{"at":1}`, `{"at":2}`, `{"at":3}`}
	for i := range want {
		if i >= len(marks) || marks[i] != want[i] && !(want[i] == "" && marks[i] == "") {
			t.Fatalf("the step saw the marks %q, want %q", marks, want)
		}
	}
}
