package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// An ObservedState is what a step sees when it looks at the world.
type ObservedState string

const (
	// Absent: the effect is not there. For unmount and detach the effect is
	// the removal, so a mounted volume is "absent".
	Absent ObservedState = "absent"
	// Ours: the effect is there and carries this attempt's token.
	Ours ObservedState = "ours"
	// Satisfied: the effect is there; who made it cannot be seen.
	Satisfied ObservedState = "satisfied"
	// Conflict: something else is in the way.
	Conflict ObservedState = "conflict"
)

// UnmarshalText reads "as-wanted", which earlier journals have, as Satisfied.
func (s *ObservedState) UnmarshalText(b []byte) error {
	if *s = ObservedState(b); *s == "as-wanted" {
		*s = Satisfied
	}
	return nil
}

// An Observation is one look. Output is the step's output where the effect is
// there. Before is what an undo will need and the effect destroys (the mount
// options of an unmount); it is recorded with the intent. Note is for people.
type Observation struct {
	State  ObservedState
	Output Output
	Before json.RawMessage
	Note   string
}

// Progress is how far a long step is. Percent is -1 where nobody knows.
type Progress struct {
	Percent int    `json:"percent"`
	Text    string `json:"text,omitempty"`
	// Retry: inside the step a call failed and is sent again after so long; 0 where none is waited for.
	Retry     time.Duration `json:"-"`
	Throttled bool          `json:"-"` // Retry: because too many requests were sent
}

// An Attempt is one try of a step. Token is the idempotency token derived
// from run, step and generation: 32 hex digits, within EC2's limit of 64.
type Attempt struct {
	Run        RunID
	Step       StepID
	Generation int
	Token      string
	Section    string          // the atomic section it belongs to, if any
	Resumed    bool            // an earlier attempt of this generation had started
	Before     json.RawMessage // recorded with the intent
	Keep       bool            // undo: leave the effect in place, do not destroy it
	Discard    bool            // undo: the effect is of no use; what cannot be removed is marked and left
	// UndoneBefore: an undo of it began before, and was cut off or failed.
	UndoneBefore bool
	Report       func(Progress) // never nil
	// Mark is what an earlier try of the step left with Checkpoint, in this process or in one before; null for none.
	Mark json.RawMessage
	// Checkpoint keeps a mark in the journal, so that a step that takes hours goes on there after a crash. The step does not wait
	// until it is durable: the newest one may be lost. Each costs the journal a record, so a step leaves a hundred or so. Nil for undos.
	Checkpoint func(mark json.RawMessage)
	// Stopping is closed when the run is asked to stop, for steps of an atomic section, whose context does not end then. What has
	// not had an effect yet may give up. Nil for others.
	Stopping <-chan struct{}
}

// ErrStopping says that a step of an atomic section gave up, because the run was asked to stop, before it had any effect. The
// section is closed, and may be opened again by a resume.
var ErrStopping = errors.New("the run was asked to stop")

// A Handler knows one step kind. Observe changes nothing. Do twice equals Do
// once, given the same attempt. Undo removes the effect, and may be called after
// a partial Do, after an Undo that was cut off, and twice; out is what Observe
// saw, or null when it saw nothing.
type Handler interface {
	Observe(ctx context.Context, a Attempt, in json.RawMessage) (Observation, error)
	Do(ctx context.Context, a Attempt, in json.RawMessage) (Output, error)
	Undo(ctx context.Context, a Attempt, in, out json.RawMessage) error
}

// PreviewAction is what a step would do.
type PreviewAction string

const (
	PreviewCreate   PreviewAction = "create"   // make something new
	PreviewAdopt    PreviewAction = "adopt"    // take what is there as it is
	PreviewChange   PreviewAction = "change"   // change what is there: attach, mount, detach
	PreviewDelete   PreviewAction = "delete"   // delete what is there
	PreviewSkip     PreviewAction = "skip"     // nothing, on purpose
	PreviewRead     PreviewAction = "read"     // only read
	PreviewRun      PreviewAction = "run"      // run a user's program
	PreviewNone     PreviewAction = "none"     // nothing: it is done
	PreviewUnknown  PreviewAction = "unknown"  // depends on a step that has not run
	PreviewConflict PreviewAction = "conflict" // fail: something is in the way
)

// A Preview is what a step would do, in a word and in words. The zero Preview says that it cannot be told yet.
type Preview struct {
	Action PreviewAction
	Text   string
}

// PreviewOf makes a Preview.
func PreviewOf(action PreviewAction, format string, a ...any) Preview {
	return Preview{action, fmt.Sprintf(format, a...)}
}

// A Previewer tells from an input whose references may be unresolved what the step would do; `plan` prints it.
type Previewer interface {
	Preview(in json.RawMessage) Preview
}

// An Adopter tells from an input alone that a by-token step's effect is there and was made by somebody else, so that a
// first attempt neither records an intent nor acts.
type Adopter interface {
	Adopts(in json.RawMessage) (o Observation, adopts bool)
}

// Handlers binds kinds to handlers, in one place.
type Handlers map[Kind]Handler

// Observed is a typed Observation.
type Observed[Out any] struct {
	State  ObservedState
	Out    Out
	Before any
	Note   string
}

// Funcs is a typed handler. A nil Observe sees nothing (Absent); a nil Undo
// has nothing to undo.
type Funcs[In, Out any] struct {
	Observe func(ctx context.Context, a Attempt, in In) (Observed[Out], error)
	Do      func(ctx context.Context, a Attempt, in In) (Out, error)
	Undo    func(ctx context.Context, a Attempt, in In, out Out) error
	Preview func(in In) Preview
	Facts   func(out Out) Facts // nil: the output's Facts method, if it has one
	Adopts  func(in In) (out Out, note string, adopts bool)
}

// Bind makes a Handler from typed functions and puts it under d's kind. Only these few closures are compiled for each kind; what
// they have in common is [bound].
func Bind[In, Out any](h Handlers, d Def[In, Out], f Funcs[In, Out]) {
	if h[d.Kind] != nil {
		panic("internal error: step kind bound twice: " + string(d.Kind))
	}
	b := bound{in: func() any { return new(In) }, out: func() any { return new(Out) }}
	if f.Observe != nil {
		b.observe = func(ctx context.Context, a Attempt, in any) (seen Observed[any], err error) {
			o, err := f.Observe(ctx, a, *in.(*In))
			return Observed[any]{o.State, o.Out, o.Before, o.Note}, err
		}
	}
	b.do = func(ctx context.Context, a Attempt, in any) (any, error) { return f.Do(ctx, a, *in.(*In)) }
	if f.Undo != nil {
		b.undo = func(ctx context.Context, a Attempt, in, out any) error {
			return f.Undo(ctx, a, *in.(*In), *out.(*Out))
		}
	}
	if f.Preview != nil {
		b.preview = func(in any) Preview { return f.Preview(*in.(*In)) }
	}
	if f.Facts != nil {
		b.facts = func(out any) Facts { return f.Facts(out.(Out)) }
	}
	if f.Adopts != nil {
		b.adopts = func(in any) (any, string, bool) { return f.Adopts(*in.(*In)) }
	}
	h[d.Kind] = b
}

// bound is a typed handler behind untyped closures. Inputs are given to them as pointers, and so is undo's output.
type bound struct {
	in, out func() any // new values of the types
	observe func(ctx context.Context, a Attempt, in any) (Observed[any], error)
	do      func(ctx context.Context, a Attempt, in any) (any, error)
	undo    func(ctx context.Context, a Attempt, in, out any) error
	preview func(in any) Preview
	facts   func(out any) Facts
	adopts  func(in any) (out any, note string, adopts bool)
}

// output encodes a typed output, with its facts where it has any.
func (b bound) output(v any) (o Output, err error) {
	o.text, _ = v.(fmt.Stringer)
	var f Facts
	if says, has := v.(interface{ Facts() Facts }); b.facts != nil {
		f = b.facts(v)
	} else if has {
		f = says.Facts()
	}
	if !f.Empty() {
		o.Facts = &f
	}
	o.Value, err = json.Marshal(v)
	return o, err
}

func (b bound) Observe(ctx context.Context, a Attempt, in json.RawMessage) (Observation, error) {
	if b.observe == nil {
		return Observation{State: Absent}, nil
	}
	v, err := decode(b.in(), a.Step, in)
	if err != nil {
		return Observation{}, err
	}
	seen, err := b.observe(ctx, a, v)
	if err != nil {
		return Observation{}, err
	}
	o := Observation{State: seen.State, Note: seen.Note}
	if seen.State == Ours || seen.State == Satisfied {
		if o.Output, err = b.output(seen.Out); err != nil {
			return o, err
		}
	}
	if seen.Before != nil {
		if o.Before, err = json.Marshal(seen.Before); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (b bound) Do(ctx context.Context, a Attempt, in json.RawMessage) (Output, error) {
	v, err := decode(b.in(), a.Step, in)
	if err != nil {
		return Output{}, err
	}
	out, err := b.do(ctx, a, v)
	if err != nil {
		return Output{}, err
	}
	return b.output(out)
}

func (b bound) Undo(ctx context.Context, a Attempt, in, out json.RawMessage) error {
	if b.undo == nil {
		return nil
	}
	v, err := decode(b.in(), a.Step, in)
	if err != nil {
		return err
	}
	o, err := decode(b.out(), a.Step, out)
	if err != nil {
		return err
	}
	return b.undo(ctx, a, v, o)
}

func (b bound) Preview(in json.RawMessage) Preview {
	if b.preview == nil {
		return Preview{}
	}
	v, err := decode(b.in(), "", in)
	if err != nil {
		return Preview{}
	}
	return b.preview(v)
}

func (b bound) Adopts(in json.RawMessage) (Observation, bool) {
	if b.adopts == nil {
		return Observation{}, false
	}
	v, err := decode(b.in(), "", in)
	if err != nil {
		return Observation{}, false // Do says what is wrong with it
	}
	out, note, adopts := b.adopts(v)
	o, err := b.output(out)
	return Observation{State: Satisfied, Output: o, Note: note}, adopts && err == nil
}

// decode reads recorded data into what the pointer points to, and returns the pointer.
func decode(to any, step StepID, raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return to, nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return to, Terminal("the run was recorded by another version of the program; abandon it and run the operation again",
			fmt.Errorf("cannot read the recorded data of step %s: %w", step, err))
	}
	return to, nil
}

// Action is what a handler asks of the runner by returning an ActionError.
type Action string

const (
	ActRetry    Action = "retry"           // try again after a while, within the step's time-out
	ActRestart  Action = "restart-section" // close the atomic section, undo its body, open it again
	ActRedo     Action = "redo"            // undo the step that this one's Redoes names, and do it again
	ActTerminal Action = "terminal"        // fail the lane now
	ActOperator Action = "needs-operator"  // stop; a person must decide
	ActSkip     Action = "skip"            // leave this lane alone; that is not a failure
)

// An ActionError is an error that says what the runner is to do about it.
type ActionError struct {
	Action Action
	After  time.Duration // ActRetry, ActRestart: not before
	Within time.Duration // ActRestart: again and again for so long, counted from the first opening; 0: a few times
	// Unchanged: the try is known to have changed nothing, so that its intent
	// is no sign of an effect.
	Unchanged bool
	// Remains (ActSkip from an undo): what was kept and is billed, in words.
	Remains string
	Err     error
}

func (v *ActionError) Error() string { return v.Err.Error() }
func (v *ActionError) Unwrap() error { return v.Err }

// Retry asks for another try, not before after. The effect may have happened.
func Retry(after time.Duration, err error) error {
	return &ActionError{Action: ActRetry, After: after, Err: err}
}

// RestartSection asks to close the section, undo its body and open it again.
func RestartSection(after time.Duration, err error) error {
	return &ActionError{Action: ActRestart, After: after, Err: err}
}

// Redo asks to undo the step that this one's Redoes names and to do it again: what it made is of no use. hint is for when that
// does not help either.
func Redo(hint string, err error) error {
	return &ActionError{Action: ActRedo, Err: WithHint(hint, err)}
}

// Terminal fails the lane; hint says what to do.
func Terminal(hint string, err error) error {
	return &ActionError{Action: ActTerminal, Err: WithHint(hint, err)}
}

// Refused fails the lane like Terminal, and says that the try has changed
// nothing.
func Refused(hint string, err error) error {
	return &ActionError{Action: ActTerminal, Unchanged: true, Err: WithHint(hint, err)}
}

// NeedsOperator stops until a person decided.
func NeedsOperator(hint string, err error) error {
	return &ActionError{Action: ActOperator, Err: WithHint(hint, err)}
}

// Skip leaves the step's lane alone without failing the run.
func Skip(reason error) error { return &ActionError{Action: ActSkip, Err: reason} }

// Keep is Skip from an undo that leaves its effect in place; remains says what is left and billed.
func Keep(remains string, reason error) error {
	return &ActionError{Action: ActSkip, Remains: remains, Err: reason}
}

// ActionOf finds what err asks for; an error that asks for nothing is terminal.
func ActionOf(err error) *ActionError {
	if v, ok := errors.AsType[*ActionError](err); ok {
		found := *v
		found.Err = err
		return &found
	}
	return &ActionError{Action: ActTerminal, Err: err}
}
