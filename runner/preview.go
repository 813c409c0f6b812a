package runner

import (
	"context"
	"encoding/json"
	"sync"

	"golang.org/x/sync/errgroup"

	"snaptastic/plan"
)

// A Preview is what a step would do as the world is now.
type Preview struct {
	Sight plan.Sight  // what a look saw; "" when it did not look
	Text  string      // in words: what it saw, or what it would do
	After plan.StepID // not known before this step ran; "" when it is known
	Skip  bool        // it would not run
	Err   error       // it would fail
	Out   json.RawMessage

	Warnings []string // what an operator should know before anything is done
}

// Foresee tells what each step of a plan would do, without doing it: read-only
// steps are executed, others observed where their inputs are known. It writes
// no journal and changes nothing.
func Foresee(ctx context.Context, p *plan.Plan, h plan.Handlers) (map[plan.StepID]Preview, error) {
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
		closes[sec.Close] = sec
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
				v = foresee(ctx, s, h[s.Kind], seen)
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
		if v, known := before[id]; !known || !v.Skip {
			return Preview{}, false
		}
	}
	if len(first) == 0 {
		return Preview{}, false
	}
	return Preview{Skip: true, After: first[0], Text: "skipped: " + string(first[0]) + " would not run"}, true
}

func foresee(ctx context.Context, s *plan.Step, h plan.Handler, before map[plan.StepID]Preview) Preview {
	for _, id := range s.Needs {
		if v := before[id]; v.Err != nil || v.Skip {
			return Preview{Skip: true, After: id, Text: "skipped: " + string(id) + " would not succeed"}
		}
	}
	var unknown plan.StepID
	in, err := plan.Resolve(s.In, func(id plan.StepID) json.RawMessage {
		v := before[id]
		switch {
		case v.Err != nil || v.Skip:
			return json.RawMessage("null")
		case v.Out == nil && unknown == "":
			unknown = id
		}
		return v.Out
	})
	if err != nil {
		return Preview{Err: err}
	}
	v := Preview{After: unknown}
	if unknown == "" {
		v = look(ctx, s, h, in)
	}
	if f, ok := h.(plan.Foreseer); ok && v.Text == "" && v.Err == nil && v.Out == nil {
		v.Text = f.Foresee(in)
	}
	return v
}

func look(ctx context.Context, s *plan.Step, h plan.Handler, in json.RawMessage) Preview {
	a := plan.Attempt{Run: "preview", Step: s.ID, Generation: 1, Token: Token("preview", s.ID, 1), Report: func(plan.Progress) {}}
	if s.ReadOnly {
		out, err := h.Do(ctx, a, in)
		if err != nil {
			v := plan.VerdictOf(err)
			return Preview{Err: err, Skip: v.Action == plan.ActSkip, Text: err.Error()}
		}
		v := Preview{Out: out}
		if t, ok := h.(plan.Teller); ok {
			v.Text = t.Tell(out)
		}
		if w, ok := h.(plan.Warner); ok {
			v.Warnings = w.Warn(out)
		}
		return v
	}
	if s.Look == plan.Blind {
		return Preview{}
	}
	o, err := h.Observe(ctx, a, in)
	if err != nil {
		return Preview{Err: err}
	}
	v := Preview{Sight: o.Sight, Text: o.Note}
	switch o.Sight {
	case plan.Ours, plan.AsWanted:
		v.Out = o.Output
	case plan.Conflict:
		v.Err = plan.Terminal("", errConflict(o.Note))
	case plan.Absent:
		v.Text = "" // the handler foresees it better
	}
	return v
}

type errConflict string

func (e errConflict) Error() string { return string(e) }
