package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// thing is an output that tells what it means.
type thing struct {
	ID   string `json:"id"`
	Size int32  `json:"size,omitempty"`
}

func (t thing) String() string { return "the thing " + t.ID }

func (t thing) Facts() Facts { return Facts{VolumeID: t.ID, SizeGiB: t.Size} }

type thingIn struct {
	Name  string       `json:"name"`
	Other Value[thing] `json:"other"`
}

var makeThing = Def[thingIn, thing]{Kind: "make", ObserveBy: ByToken, Scope: Cloud}

// bind puts one handler into a table of its own and takes it out again.
func bind(f Funcs[thingIn, thing]) Handler {
	h := Handlers{}
	Bind(h, makeThing, f)
	return h[makeThing.Kind]
}

func TestABoundHandlerSpeaksJSONAndGivesTheFactsOfItsOutput(t *testing.T) {
	var undone thing
	h := bind(Funcs[thingIn, thing]{
		Observe: func(_ context.Context, _ Attempt, in thingIn) (Observed[thing], error) {
			switch in.Name {
			case "there":
				return Observed[thing]{State: Satisfied, Out: thing{ID: "vol-1"}, Before: []string{"how it was"}, Note: "it is there"}, nil
			case "broken":
				return Observed[thing]{}, errors.New("no answer")
			}
			return Observed[thing]{State: Absent, Out: thing{ID: "vol-0"}}, nil
		},
		Do: func(_ context.Context, _ Attempt, in thingIn) (thing, error) {
			if in.Name == "broken" {
				return thing{}, errors.New("no answer")
			}
			return thing{in.Name, 8}, nil
		},
		Undo:    func(_ context.Context, _ Attempt, _ thingIn, out thing) error { undone = out; return nil },
		Preview: func(in thingIn) Preview { return PreviewOf(PreviewCreate, "make %s", in.Name) },
		Adopts: func(in thingIn) (thing, string, bool) {
			other, known := in.Other.Get()
			return other, other.ID + " was there", known
		},
	})
	ctx := t.Context()

	o, err := h.Observe(ctx, Attempt{}, []byte(`{"name":"there"}`))
	if err != nil || o.State != Satisfied || string(o.Output.Value) != `{"id":"vol-1"}` || o.Output.Facts.VolumeID != "vol-1" || string(o.Before) != `["how it was"]` || o.Note != "it is there" {
		t.Errorf("observed %+v, %v", o, err)
	}
	if o, err = h.Observe(ctx, Attempt{}, []byte(`{"name":"new"}`)); err != nil || o.State != Absent || o.Output.Value != nil || o.Before != nil {
		t.Errorf("where there is nothing it observed %+v, %v", o, err)
	}
	out, err := h.Do(ctx, Attempt{}, []byte(`{"name":"vol-2"}`))
	if err != nil || string(out.Value) != `{"id":"vol-2","size":8}` || !reflect.DeepEqual(*out.Facts, Facts{VolumeID: "vol-2", SizeGiB: 8}) || out.Text() != "the thing vol-2" {
		t.Errorf("did %+v (%s), %v", out, out.Text(), err)
	}
	if err := h.Undo(ctx, Attempt{}, []byte(`{}`), out.Value); err != nil || undone.ID != "vol-2" {
		t.Errorf("undid %+v, %v", undone, err)
	}
	if err := h.Undo(ctx, Attempt{}, nil, nil); err != nil || undone.ID != "" {
		t.Errorf("what was not seen was undone as %+v, %v", undone, err)
	}
	if v := h.(Previewer).Preview([]byte(`{"name":"x"}`)); v != (Preview{PreviewCreate, "make x"}) {
		t.Errorf("previewed %+v", v)
	}
	if o, adopts := h.(Adopter).Adopts([]byte(`{"other":{"id":"vol-3"}}`)); !adopts || o.State != Satisfied || o.Output.Facts.VolumeID != "vol-3" || o.Note != "vol-3 was there" {
		t.Errorf("adopted %+v, %t", o, adopts)
	}
	if _, adopts := h.(Adopter).Adopts([]byte(`{"other":{"$step":"later"}}`)); adopts {
		t.Error("it adopts what is not known yet")
	}
	for name, f := range map[string]func(in json.RawMessage) error{
		"look": func(in json.RawMessage) error { _, err := h.Observe(ctx, Attempt{}, in); return err },
		"act":  func(in json.RawMessage) error { _, err := h.Do(ctx, Attempt{}, in); return err },
	} {
		if err := f([]byte(`{"name":"broken"}`)); err == nil || err.Error() != "no answer" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatAnotherVersionRecordedIsRefusedByWhoeverReadsIt(t *testing.T) {
	h := bind(Funcs[thingIn, thing]{
		Observe: func(context.Context, Attempt, thingIn) (Observed[thing], error) { return Observed[thing]{}, nil },
		Do:      func(context.Context, Attempt, thingIn) (thing, error) { return thing{}, nil },
		Undo:    func(context.Context, Attempt, thingIn, thing) error { return nil },
		Preview: func(thingIn) Preview { return PreviewOf(PreviewRun, "anything") },
		Adopts:  func(thingIn) (thing, string, bool) { return thing{}, "", true },
	})
	a, other := Attempt{Step: "make:a"}, json.RawMessage(`{"name":["a list"]}`)
	for name, f := range map[string]func() error{
		"look":           func() error { _, err := h.Observe(t.Context(), a, other); return err },
		"act":            func() error { _, err := h.Do(t.Context(), a, other); return err },
		"undo":           func() error { return h.Undo(t.Context(), a, other, nil) },
		"undo an output": func() error { return h.Undo(t.Context(), a, nil, []byte(`[1]`)) },
	} {
		err := f()
		if v := ActionOf(err); err == nil || v.Action != ActTerminal || !strings.Contains(HintOf(err), "abandon") || !strings.Contains(err.Error(), "make:a") {
			t.Errorf("%s: %v (%+v)", name, err, v)
		}
	}
	if v := h.(Previewer).Preview(other); v != (Preview{}) {
		t.Errorf("previewed %+v", v)
	}
	if _, adopts := h.(Adopter).Adopts(other); adopts {
		t.Error("it adopts what it cannot read")
	}
}

func TestAHandlerThatOnlyActsSeesNothingAndUndoesNothing(t *testing.T) {
	h := bind(Funcs[thingIn, thing]{
		Do:    func(context.Context, Attempt, thingIn) (thing, error) { return thing{}, nil },
		Facts: func(thing) Facts { return Facts{Remarks: []string{"said by the handler"}} },
	})
	if o, err := h.Observe(t.Context(), Attempt{}, []byte(`{"name":5}`)); err != nil || o.State != Absent {
		t.Errorf("observed %+v, %v", o, err)
	}
	if err := h.Undo(t.Context(), Attempt{}, []byte(`{"name":5}`), nil); err != nil {
		t.Error(err)
	}
	if v := h.(Previewer).Preview(nil); v != (Preview{}) {
		t.Errorf("previewed %+v", v)
	}
	if _, adopts := h.(Adopter).Adopts(nil); adopts {
		t.Error("it adopts")
	}
	if out, err := h.Do(t.Context(), Attempt{}, nil); err != nil || out.Facts == nil || out.Facts.Remarks[0] != "said by the handler" {
		t.Errorf("did %+v, %v", out, err)
	}
	silent := Handlers{}
	Bind(silent, Def[thingIn, int]{Kind: "silent"}, Funcs[thingIn, int]{Do: func(context.Context, Attempt, thingIn) (int, error) { return 7, nil }})
	if out, err := silent["silent"].Do(t.Context(), Attempt{}, nil); err != nil || out.Facts != nil || out.Text() != "" || string(out.Value) != "7" {
		t.Errorf("did %+v, %v", out, err)
	}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "bound twice") {
			t.Errorf("a kind is bound twice: %s", said)
		}
	}()
	Bind(silent, Def[thingIn, int]{Kind: "silent"}, Funcs[thingIn, int]{})
}

func TestAnOutputThatIsNoJSONIsAnError(t *testing.T) {
	h := Handlers{}
	Bind(h, Def[thingIn, any]{Kind: "odd"}, Funcs[thingIn, any]{
		Observe: func(_ context.Context, _ Attempt, in thingIn) (Observed[any], error) {
			if in.Name == "before" {
				return Observed[any]{State: Absent, Before: func() {}}, nil
			}
			return Observed[any]{State: Ours, Out: func() {}}, nil
		},
		Do: func(context.Context, Attempt, thingIn) (any, error) { return func() {}, nil },
	})
	for _, in := range []string{`{}`, `{"name":"before"}`} {
		if _, err := h["odd"].Observe(t.Context(), Attempt{}, []byte(in)); err == nil {
			t.Errorf("observed with %s without an error", in)
		}
	}
	if _, err := h["odd"].Do(t.Context(), Attempt{}, nil); err == nil {
		t.Error("did it without an error")
	}
}

func TestAVerdictIsFoundWhereverItIsWrapped(t *testing.T) {
	cause := errors.New("busy")
	for name, c := range map[string]struct {
		err  error
		want ActionError
		hint string
	}{
		"none":           {cause, ActionError{Action: ActTerminal}, ""},
		"retry":          {Retry(time.Second, cause), ActionError{Action: ActRetry, After: time.Second}, ""},
		"restart":        {RestartSection(time.Minute, cause), ActionError{Action: ActRestart, After: time.Minute}, ""},
		"redo":           {Redo("wait", cause), ActionError{Action: ActRedo}, "wait"},
		"terminal":       {Terminal("stop it", cause), ActionError{Action: ActTerminal}, "stop it"},
		"refused":        {Refused("stop it", cause), ActionError{Action: ActTerminal, Unchanged: true}, "stop it"},
		"needs operator": {NeedsOperator("look", cause), ActionError{Action: ActOperator}, "look"},
		"skip":           {Skip(cause), ActionError{Action: ActSkip}, ""},
		"keep":           {Keep("vol-1", cause), ActionError{Action: ActSkip, Remains: "vol-1"}, ""},
	} {
		for _, err := range []error{c.err, fmt.Errorf("cannot mount: %w", c.err)} {
			got := *ActionOf(err)
			if got.Err != err || !errors.Is(got.Err, cause) || got.Error() != err.Error() {
				t.Errorf("%s: the verdict is about %v", name, got.Err)
			}
			if got.Err = nil; got != c.want || HintOf(err) != c.hint {
				t.Errorf("%s: %+v with hint %q, want %+v with %q", name, got, HintOf(err), c.want, c.hint)
			}
		}
	}
}

func TestAnObservedStateOfAnEarlierJournalIsRead(t *testing.T) {
	for text, want := range map[string]ObservedState{`"as-wanted"`: Satisfied, `"satisfied"`: Satisfied, `"ours"`: Ours, `""`: ""} {
		var got ObservedState
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", text, got, err, want)
		}
	}
}
