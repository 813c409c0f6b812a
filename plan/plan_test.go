package plan

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

type volume struct {
	ID   string `json:"id"`
	Size int    `json:"size"`
}

type attachIn struct {
	Volume Value[volume]   `json:"volume"`
	Others []Value[volume] `json:"others,omitempty"`
	Device string          `json:"device"`
	Map    map[string]any  `json:"map,omitempty"`
}

var (
	create = Def[volume, volume]{Kind: "create", ObserveBy: ByToken, Scope: Cloud}
	attach = Def[attachIn, string]{Kind: "attach", ObserveBy: ByState, Scope: Cloud}
)

func build(t *testing.T, f func(b *Builder)) (*Plan, error) {
	t.Helper()
	b := NewBuilder(Plan{Operation: "mount", ResumePolicy: ResumeAnyBoot, Lanes: []Lane{{ID: "a"}, {ID: "b"}}})
	f(b)
	return b.Build()
}

func TestReferencesBecomeEdges(t *testing.T) {
	p, err := build(t, func(b *Builder) {
		v := Add(b, create, "create:a", volume{Size: 1})
		w := Add(b, create, "create:b", volume{Size: 2})
		Add(b, attach, "attach:a", attachIn{Volume: v, Others: []Value[volume]{w, Literal(volume{ID: "vol-9"})}}, AfterSettled("create:b"))
	})
	if err != nil {
		t.Fatal(err)
	}
	s := p.Steps[2]
	if !reflect.DeepEqual(s.Needs, []StepID{"create:a"}) || !reflect.DeepEqual(s.Settled, []StepID{"create:b"}) {
		t.Errorf("needs %v, settled %v", s.Needs, s.Settled)
	}
	in, err := Resolve(s.In, func(id StepID) json.RawMessage {
		return map[StepID]json.RawMessage{"create:a": json.RawMessage(`{"id":"vol-1"}`), "create:b": json.RawMessage("null")}[id]
	})
	if err != nil {
		t.Fatal(err)
	}
	var got attachIn
	if err := json.Unmarshal(in, &got); err != nil {
		t.Fatal(err)
	}
	if v, ok := got.Volume.Get(); !ok || v.ID != "vol-1" {
		t.Errorf("volume %+v, known %v", v, ok)
	}
	if _, ok := got.Others[0].Get(); ok {
		t.Error("a step without an output is known")
	}
	if v, ok := got.Others[1].Get(); !ok || v.ID != "vol-9" {
		t.Errorf("literal %+v, known %v", v, ok)
	}
	back, err := Decode(mustJSON(t, p))
	if err != nil || back.Digest() != p.Digest() {
		t.Errorf("a stored plan reads back differently: %v", err)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMistakesInARecipeAreRefused(t *testing.T) {
	tests := map[string]struct {
		f       func(b *Builder)
		message string
	}{
		"a literal reference key": {func(b *Builder) {
			Add(b, attach, "x", attachIn{Map: map[string]any{"$step": 5}})
		}, "$step"},
		"a forward reference": {func(b *Builder) {
			Add(b, create, "x", volume{}, After("later"))
			Add(b, create, "later", volume{})
		}, "not before it"},
		"one id twice":      {func(b *Builder) { Add(b, create, "x", volume{}); Add(b, create, "x", volume{}) }, "twice"},
		"an unknown lane":   {func(b *Builder) { Add(b, create, "x", volume{}, InLane("z")) }, "not declared"},
		"a space in an id":  {func(b *Builder) { Add(b, create, "x y", volume{}) }, "spaces"},
		"no steps":          {func(*Builder) {}, "no steps"},
		"an open section":   {func(b *Builder) { b.Section("s", Atomic); Add(b, create, "x", volume{}, Opens("s")) }, "lacks"},
		"a missing section": {func(b *Builder) { Add(b, create, "x", volume{}, In("s")) }, "not declared"},
		"a late opening": {func(b *Builder) {
			b.Section("s", Bracket)
			Add(b, create, "x", volume{}, In("s"))
			Add(b, create, "y", volume{}, Opens("s"))
		}, "too late"},
		"an atomic body that waits for what open does not": {func(b *Builder) {
			b.Section("s", Atomic)
			Add(b, create, "before", volume{})
			Add(b, create, "o", volume{}, Opens("s"))
			Add(b, create, "x", volume{}, In("s"), After("before"))
			Add(b, create, "c", volume{}, Closes("s"))
		}, "does not need"},
		"kept by nothing": {func(b *Builder) { Add(b, create, "x", volume{}, KeptBy("y")) }, "not in the plan"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := build(t, tt.f); err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("got %v, want %q", err, tt.message)
			}
		})
	}
}

func TestACloserToleratesWhateverCameOfItsSection(t *testing.T) {
	p, err := build(t, func(b *Builder) {
		b.Section("out", Bracket)
		b.Section("in", Atomic)
		Add(b, create, "pre", volume{}, Opens("out"))
		o := Add(b, create, "open", volume{}, Opens("in"), In("out"))
		x := Add(b, attach, "x", attachIn{Volume: Literal(volume{})}, In("in"), In("out"))
		_ = x
		Add(b, attach, "close", attachIn{Volume: o}, Closes("in"), In("out"))
		Add(b, create, "post", volume{}, Closes("out"))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps {
		if (s.ID == "close" || s.ID == "post") && len(s.Needs) > 0 {
			t.Errorf("%s needs %v", s.ID, s.Needs)
		}
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	if _, err := Decode([]byte(`{"schema":2}`)); err == nil || !strings.Contains(err.Error(), "supports up to 1") {
		t.Errorf("got %v", err)
	}
}

// FuzzDecode: what decodes is valid, stays valid, and its references resolve.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":1,"resumption":"continue","steps":[{"id":"a","kind":"k","look":"state","scope":"cloud","in":{"x":[{"y":"$step"}]}}]}`))
	f.Add([]byte(`{"schema":1,"resumption":"ask","lanes":[{"id":"l"}],"steps":[{"id":"a","kind":"k","read_only":true,"scope":"boot"},{"id":"b","kind":"k","look":"token","scope":"cloud","needs":["a"],"in":{"$step":"a"},"timeout":"3s"}]}`))
	f.Add([]byte(`{"schema":1,"resumption":"ask","sections":[{"id":"s","kind":"atomic","open":"a","close":"b"}],"steps":[{"id":"a","kind":"k","look":"blind","scope":"cloud"},{"id":"b","kind":"k","look":"blind","scope":"cloud","settled":["a"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(mustJSON(t, p))
		if err != nil {
			t.Fatalf("a valid plan does not read back: %v", err)
		}
		if again.Digest() != p.Digest() {
			t.Error("a valid plan reads back as another one")
		}
		for i := range p.Steps {
			if _, err := Resolve(p.Steps[i].In, func(StepID) json.RawMessage { return json.RawMessage("7") }); err != nil {
				t.Errorf("step %s does not resolve: %v", p.Steps[i].ID, err)
			}
		}
	})
}
