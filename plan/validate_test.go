package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// whole is a plan of everything: a bracket without an opening step around an atomic section, each with two closing steps.
func whole(t *testing.T) *Plan {
	t.Helper()
	p, err := build(t, func(b *Builder) {
		b.Section("out", Bracket)
		b.Section("in", Atomic)
		v := Add(b, create, "create", volume{}, InLane("a"), In("out"), Within(time.Minute), KeptBy("attach"), Title("create %s", "it"), Commits())
		Add(b, attach, "attach", attachIn{Volume: v}, InLane("a"), In("out"), Redoes("create"), Tolerated(), After(""))
		Add(b, create, "open", volume{}, Opens("in"), In("out"), After("create", "attach"), Holding(Held{Hook: "lock"}))
		Add(b, create, "shot", volume{}, In("in"), In("out"), Once())
		Add(b, attach, "thaw", attachIn{Volume: v}, Closes("in"), In("out"), After("attach"))
		Add(b, create, "let-go", volume{}, Closes("in"), In("out"))
		Add(b, attach, "detach", attachIn{Volume: v}, Closes("out"))
		Add(b, attach, "delete", attachIn{Volume: v}, Closes("out"), InLane("b"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Plan) step(t *testing.T, id StepID) *Step {
	t.Helper()
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("no step %s", id)
	}
	return &p.Steps[i]
}

func TestOptionsSayWhatAStepIs(t *testing.T) {
	p := whole(t)
	made, put, shot := p.step(t, "create"), p.step(t, "attach"), p.step(t, "shot")
	if made.Title != "create it" || time.Duration(made.Timeout) != time.Minute || made.KeptBy != "attach" || !made.Commits || made.Lane != "a" || put.Redoes != "create" ||
		!put.Tolerated || !shot.Once || p.step(t, "open").Held[0].Hook != "lock" {
		t.Errorf("%+v %+v %+v", made, put, shot)
	}
	back, err := Decode(mustJSON(t, p))
	if err != nil || !reflect.DeepEqual(mustJSON(t, back), mustJSON(t, p)) {
		t.Errorf("it reads back as %+v, %v", back, err)
	}
}

func TestClosingStepsComeOneAfterTheOtherAndTolerateAll(t *testing.T) {
	p := whole(t)
	for id, want := range map[StepID][]StepID{"thaw": {"open", "shot"}, "let-go": {"thaw"}, "detach": {"create", "attach", "open", "shot", "thaw", "let-go"}, "delete": {"detach"}} {
		s := p.step(t, id)
		for _, w := range want {
			if !slices.Contains(s.Settled, w) {
				t.Errorf("%s does not wait for %s: %v", id, w, s.Settled)
			}
		}
		if len(s.Needs) > 0 {
			t.Errorf("%s needs %v", id, s.Needs)
		}
	}
	if got := p.Sections[1].Members(); !slices.Equal(got, []StepID{"open", "shot", "thaw", "let-go"}) {
		t.Errorf("the members are %v", got)
	}
}

// lanesClosed is a bracket of two lanes, whose closing steps have lanes of their own but for the first and the last.
func lanesClosed(t *testing.T, kind SectionKind) (*Plan, error) {
	t.Helper()
	return build(t, func(b *Builder) {
		b.Section("s", kind)
		if kind == Atomic {
			Add(b, create, "open", volume{}, Opens("s"))
		}
		for _, lane := range []string{"a", "b"} {
			Add(b, create, StepID("create:"+lane), volume{}, InLane(lane), In("s"))
		}
		Add(b, create, "unmount", volume{}, Closes("s"))
		for _, what := range []string{"detach:", "delete:"} {
			for _, lane := range []string{"a", "b"} {
				Add(b, create, StepID(what+lane), volume{}, InLane(lane), Closes("s"))
			}
		}
		Add(b, create, "end", volume{}, Closes("s"))
	})
}

func TestClosingStepsOfDifferentLanesRunSideBySide(t *testing.T) {
	p, err := lanesClosed(t, Bracket)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[StepID][]StepID{"unmount": {"create:a", "create:b"}, "detach:a": {"unmount"}, "detach:b": {"unmount"},
		"delete:a": {"detach:a"}, "delete:b": {"detach:b"}, "end": {"unmount", "detach:a", "detach:b", "delete:a", "delete:b"}} {
		if got := p.step(t, id).Settled; !slices.Equal(got, want) {
			t.Errorf("%s waits for %v, want %v", id, got, want)
		}
	}
	for id, lacks := range map[StepID]StepID{"detach:b": "unmount", "delete:a": "detach:a", "end": "delete:b"} {
		s := p.step(t, id)
		whole := s.Settled
		s.Settled = slices.DeleteFunc(slices.Clone(whole), func(d StepID) bool { return d == lacks })
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "does not wait for") {
			t.Errorf("%s without %s: %v", id, lacks, err)
		}
		s.Settled = whole
	}
	// A plan of an earlier version has them in one chain.
	for i, id := range p.Sections[0].Close[1:] {
		p.step(t, id).Settled = p.Sections[0].Close[i : i+1]
	}
	if err := p.Validate(); err != nil {
		t.Errorf("a chain is refused: %v", err)
	}
	if p, err = lanesClosed(t, Atomic); err != nil || !slices.Equal(p.step(t, "delete:a").Settled, []StepID{"detach:b"}) {
		t.Errorf("of an atomic section: %v", err)
	}
}

func TestAPlanOfAnEarlierVersionHasOneClosingStep(t *testing.T) {
	for close, want := range map[string]Closers{`"b"`: {"b"}, `["b"]`: {"b"}, `["b","c"]`: {"b", "c"}, `""`: nil, `[]`: nil, `7`: nil} {
		p, err := Decode(fmt.Appendf(nil, `{"schema":1,"resumption":"ask","sections":[{"id":"s","kind":"bracket","body":["a"],"close":%s}],"steps":[
			{"id":"a","kind":"k","look":"state","scope":"cloud"},{"id":"b","kind":"k","look":"state","scope":"cloud","settled":["a"]},
			{"id":"c","kind":"k","look":"state","scope":"cloud","settled":["b"]}]}`, close))
		if want == nil != (err != nil) || err == nil && !slices.Equal(p.Sections[0].Close, want) {
			t.Errorf("%s reads as %+v, %v", close, p, err)
		}
	}
}

func TestADamagedPlanIsRefused(t *testing.T) {
	for says, damage := range map[string]func(p *Plan){
		"no such resumption":               func(p *Plan) { p.ResumePolicy = "later" },
		"empty or declared twice":          func(p *Plan) { p.Lanes[1].ID = "a" },
		"twice":                            func(p *Plan) { p.Steps[1].ID = "create" },
		"no kind":                          func(p *Plan) { p.Steps[1].Kind = "" },
		"does not say how it looks":        func(p *Plan) { p.Steps[1].ObserveBy = "" },
		"which does not exist":             func(p *Plan) { p.Steps[1].ObserveBy = "hard" },
		"no such scope":                    func(p *Plan) { p.Steps[1].Scope = "moon" },
		"negative time-out":                func(p *Plan) { p.Steps[1].Timeout = -1 },
		"input is not JSON":                func(p *Plan) { p.Steps[1].In = []byte(`{`) },
		"literal":                          func(p *Plan) { p.Steps[1].In = []byte(`{"$step":7}`) },
		"does not come after it":           func(p *Plan) { p.Steps[1].Needs = nil },
		"is not before it":                 func(p *Plan) { p.Steps[1].Redoes = "shot" },
		`section "" is empty`:              func(p *Plan) { p.Sections[0].ID = "" },
		"of no such kind":                  func(p *Plan) { p.Sections[0].Kind = "loose" },
		"lacks its open or close step":     func(p *Plan) { p.Sections[1].Open = "" },
		"which is not in the plan":         func(p *Plan) { p.Sections[0].Body[0] = "gone" },
		"in two atomic sections":           func(p *Plan) { p.Sections[0].Kind, p.Sections[0].Open = Atomic, "create" },
		"is in it as well":                 func(p *Plan) { p.Sections[0].Close = Closers{"detach", "create"} },
		"does not wait for detach":         func(p *Plan) { p.Steps[7].Settled = []StepID{"create"} },
		"does not wait for attach":         func(p *Plan) { p.Sections[0].Close = Closers{"delete", "detach"} },
		"must not need any step":           func(p *Plan) { p.Steps[6].Needs = []StepID{"create"} },
		"shot is in it and does not need":  func(p *Plan) { p.Steps[3].Needs = nil },
		"thaw comes after create, which o": func(p *Plan) { p.Steps[2].Needs = []StepID{"attach"} },
	} {
		p := whole(t)
		damage(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
	for _, text := range []string{``, `7`, `{"schema":0}`, `{"schema":1,"steps":7}`} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%q is read as a plan", text)
		}
	}
}

func TestMistakesAboutSectionsAreRefused(t *testing.T) {
	for says, f := range map[string]func(b *Builder){
		"declared twice": func(b *Builder) {
			b.Section("s", Bracket)
			b.Section("s", Bracket)
			Add(b, create, "x", volume{}, Closes("s"))
		},
		"does not wait for late": func(b *Builder) {
			b.Section("s", Bracket)
			Add(b, create, "x", volume{}, In("s"))
			Add(b, create, "close", volume{}, Closes("s"))
			Add(b, create, "late", volume{}, In("s"))
		},
		"unsupported type": func(b *Builder) { Add(b, Def[any, int]{Kind: "k"}, "x", any(func() {})) },
	} {
		if _, err := build(t, f); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

func TestManyEdgesAreNamedOnce(t *testing.T) {
	p, err := build(t, func(b *Builder) {
		b.Section("s", Bracket)
		var all []StepID
		for i := range 3 * linearSearchMax {
			id := StepID(fmt.Sprint("x", i))
			Add(b, create, id, volume{}, In("s"))
			all = append(all, id)
		}
		Add(b, create, "close", volume{}, After(all...), After(all...), After(""), Closes("s"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.step(t, "close"); len(s.Settled) != 3*linearSearchMax || len(s.Needs) > 0 {
		t.Errorf("it waits for %d steps and needs %v", len(s.Settled), s.Needs)
	}
}

func TestClaimsAreThoseOfTheLanesThatAreNamed(t *testing.T) {
	p := Plan{Lanes: []Lane{{ID: "a", Claims: []string{"mount:/a", "device:/dev/sdf"}}, {ID: "b", Claims: []string{"mount:/b"}}}}
	for _, c := range []struct {
		lanes []string
		want  []string
	}{{nil, []string{"mount:/a", "device:/dev/sdf", "mount:/b"}}, {[]string{"b"}, []string{"mount:/b"}}, {[]string{"c"}, nil}} {
		if got := p.Claims(c.lanes...); !slices.Equal(got, c.want) {
			t.Errorf("of %v: %v", c.lanes, got)
		}
	}
}

func TestAReferenceKnowsItsStepAndNotItsValue(t *testing.T) {
	var v Value[volume]
	_, err := build(t, func(b *Builder) { v = Add(b, create, "x", volume{}) })
	if _, known := v.Get(); err != nil || known || v.Step() != "x" {
		t.Errorf("%+v, %v", v, err)
	}
	if l := Literal(volume{ID: "vol-1"}); l.Must().ID != "vol-1" || l.Step() != "" {
		t.Errorf("%+v", l)
	}
}
