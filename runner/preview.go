package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"snaptastic/plan"
)

// A Preview is what a step would do as EC2 and the machine are now.
type Preview struct {
	plan.Preview             // Action is never ""
	After        plan.StepID // not known before this step ran; "" when it is known
	Err          error       // it would fail
	Warnings     []string    // what an operator should know before anything is done

	out     json.RawMessage
	blocked bool // it would not run, so that what needs it would not either
}

// PreviewPlan tells what each step of a plan would do, without doing it: read-only
// steps are executed, others observed where their inputs are known. It writes
// no journal and changes nothing.
func PreviewPlan(ctx context.Context, p *plan.Plan, h plan.Handlers) (map[plan.StepID]Preview, error) {
	if err := Check(p, h); err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		all  = make(map[plan.StepID]Preview, len(p.Steps))
		over = make(map[plan.StepID]chan struct{}, len(p.Steps))
		g    errgroup.Group
	)
	for i := range p.Steps {
		over[p.Steps[i].ID] = make(chan struct{})
	}
	closes := map[plan.StepID]plan.Section{}
	for _, sec := range p.Sections {
		for _, id := range sec.Close {
			closes[id] = sec
		}
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		g.Go(func() error {
			defer close(over[s.ID])
			seen := map[plan.StepID]Preview{}
			for _, list := range [][]plan.StepID{s.Needs, s.Settled} {
				for _, id := range list {
					<-over[id]
					mu.Lock()
					seen[id] = all[id]
					mu.Unlock()
				}
			}
			v, idle := neverOpens(closes[s.ID], seen)
			if !idle {
				v = preview(ctx, s, h[s.Kind], seen)
			}
			mu.Lock()
			all[s.ID] = v
			mu.Unlock()
			return nil
		})
	}
	return all, g.Wait()
}

// neverOpens tells that a section's close would have nothing to close, since
// neither its open step nor, without one, any step of its body would run.
func neverOpens(sec plan.Section, before map[plan.StepID]Preview) (Preview, bool) {
	first := sec.Body
	if sec.Open != "" {
		first = []plan.StepID{sec.Open}
	}
	for _, id := range first {
		if v, known := before[id]; !known || !v.blocked {
			return Preview{}, false
		}
	}
	if len(first) == 0 {
		return Preview{}, false
	}
	return wouldSkip("skipped: %s would not run", first[0]), true
}

func wouldSkip(format string, because plan.StepID) Preview {
	return Preview{Preview: plan.PreviewOf(plan.PreviewSkip, format, because), After: because, blocked: true}
}

func preview(ctx context.Context, s *plan.Step, h plan.Handler, before map[plan.StepID]Preview) Preview {
	for _, id := range s.Needs {
		if v := before[id]; v.Err != nil || v.blocked {
			return wouldSkip("skipped: %s would not succeed", id)
		}
	}
	var unknown plan.StepID
	in, err := plan.Resolve(s.In, func(id plan.StepID) json.RawMessage {
		v := before[id]
		switch {
		case v.Err != nil || v.blocked:
			return json.RawMessage("null")
		case v.out == nil && unknown == "":
			unknown = id
		}
		return v.out
	})
	if err != nil {
		return wouldFail(err)
	}
	v := Preview{After: unknown}
	if unknown == "" {
		v = observe(ctx, s, h, in)
	}
	if v.out != nil || v.Err != nil || v.Action != "" {
		return v
	}
	if told, can := h.(plan.Previewer); can {
		v.Preview = told.Preview(in)
	}
	switch {
	case s.ReadOnly:
		v.Action = plan.PreviewRead
	case v.Action != "":
	case s.ObserveBy == plan.Blind:
		v.Action = plan.PreviewRun
	case unknown != "":
		v.Action = plan.PreviewUnknown
	case s.ObserveBy == plan.ByToken:
		v.Action = plan.PreviewCreate
	default:
		v.Action = plan.PreviewChange
	}
	if v.Text == "" && unknown != "" {
		v.Text = "known after " + string(unknown)
	}
	return v
}

func wouldFail(err error) Preview {
	if plan.ActionOf(err).Action == plan.ActSkip {
		return Preview{Preview: plan.PreviewOf(plan.PreviewSkip, "%v", err), blocked: true}
	}
	return Preview{Preview: plan.Preview{Action: plan.PreviewConflict}, Err: err}
}

// observe executes a read-only step, and looks for the effect of another one. The zero Preview says that it is not there.
func observe(ctx context.Context, s *plan.Step, h plan.Handler, in json.RawMessage) Preview {
	a := plan.Attempt{Run: "preview", Step: s.ID, Generation: 1, Token: Token("preview", s.ID, 1), Report: func(plan.Progress) {}}
	if s.ReadOnly {
		out, err := h.Do(ctx, a, in)
		if err != nil {
			return wouldFail(err)
		}
		return Preview{Preview: plan.Preview{Action: plan.PreviewRead, Text: out.Text()}, Warnings: out.Facts.AllWarnings(), out: out.Value}
	}
	if s.ObserveBy == plan.Blind {
		return Preview{}
	}
	o, err := h.Observe(ctx, a, in)
	if err != nil {
		return wouldFail(err)
	}
	switch o.State {
	case plan.Ours:
		return Preview{Preview: plan.Preview{Action: plan.PreviewNone, Text: o.Note}, out: o.Output.Value}
	case plan.Satisfied:
		return Preview{Preview: plan.Preview{Action: plan.PreviewAdopt, Text: cmp.Or(o.Note, "already set")}, out: o.Output.Value}
	case plan.Conflict:
		return wouldFail(errors.New(o.Note))
	}
	return Preview{} // the handler tells better what it would do
}
