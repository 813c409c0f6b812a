package steps

import (
	"context"
	"encoding/json"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// telling reports the retries of EC2 calls inside a step as its progress.
type telling struct{ plan.Handler }

func tellRetries(h plan.Handlers) plan.Handlers {
	for kind := range h {
		h[kind] = telling{h[kind]}
	}
	return h
}

func (t telling) context(ctx context.Context, a plan.Attempt) context.Context {
	if a.Report == nil {
		return ctx
	}
	return ec2.OnRetry(ctx, func(n ec2.RetryNotice) {
		a.Report(plan.Progress{Percent: -1, Text: n.Message, Retry: n.In, Throttled: n.Throttled})
	})
}

func (t telling) Observe(ctx context.Context, a plan.Attempt, in json.RawMessage) (plan.Observation, error) {
	return t.Handler.Observe(t.context(ctx, a), a, in)
}

func (t telling) Do(ctx context.Context, a plan.Attempt, in json.RawMessage) (plan.Output, error) {
	return t.Handler.Do(t.context(ctx, a), a, in)
}

func (t telling) Undo(ctx context.Context, a plan.Attempt, in, out json.RawMessage) error {
	return t.Handler.Undo(t.context(ctx, a), a, in, out)
}

func (t telling) Preview(in json.RawMessage) plan.Preview {
	if p, ok := t.Handler.(plan.Previewer); ok {
		return p.Preview(in)
	}
	return plan.Preview{}
}

func (t telling) Adopts(in json.RawMessage) (plan.Observation, bool) {
	if a, ok := t.Handler.(plan.Adopter); ok {
		return a.Adopts(in)
	}
	return plan.Observation{}, false
}
