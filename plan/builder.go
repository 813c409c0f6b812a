package plan

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Def defines a step kind: what goes in, what comes out, and how the runner
// treats it. It is data; the Handler that acts is bound to Kind elsewhere.
type Def[In, Out any] struct {
	Kind       Kind
	ObserveBy  ObserveBy
	Scope      Scope
	ReadOnly   bool
	Idempotent bool
}

// A Builder collects steps; Build validates them. Its methods record the
// first mistake and go on, so that a recipe reads without error checks.
type Builder struct {
	p        Plan
	index    map[StepID]bool
	sections map[string]*Section
	closing  map[StepID]string // lanes of the steps that close a section
	err      error
}

// NewBuilder starts an empty plan. The head's steps and sections are ignored.
func NewBuilder(head Plan) *Builder {
	head.Schema, head.Steps, head.Sections = Schema, nil, nil
	return &Builder{p: head, index: map[StepID]bool{}, sections: map[string]*Section{}, closing: map[StepID]string{}}
}

// An Option says more about one step.
type Option func(*Builder, *Step)

// Title is what the step does, for people.
func Title(format string, a ...any) Option {
	return func(_ *Builder, s *Step) { s.Title = fmt.Sprintf(format, a...) }
}

// Holding names the programs that run from this step to the section's close.
func Holding(held ...Held) Option { return func(_ *Builder, s *Step) { s.Held = held } }

// InLane puts the step into a lane.
func InLane(id string) Option { return func(_ *Builder, s *Step) { s.Lane = id } }

// After adds explicit edges: the step needs these done. Empty ids are ignored.
func After(ids ...StepID) Option {
	return func(_ *Builder, s *Step) { s.Needs = addIDs(s.Needs, ids...) }
}

// AfterSettled adds edges that hold whatever the result. A reference to a step
// named here is tolerant: it resolves to null when that step has no output.
func AfterSettled(ids ...StepID) Option {
	return func(_ *Builder, s *Step) { s.Settled = addIDs(s.Settled, ids...) }
}

// Within bounds all tries of the step together.
func Within(d time.Duration) Option { return func(_ *Builder, s *Step) { s.Timeout = Duration(d) } }

// Once marks a blind step that must not be repeated after a crash inside it.
func Once() Option { return func(_ *Builder, s *Step) { s.Once = true } }

// Tolerated marks a step whose failure does not count.
func Tolerated() Option { return func(_ *Builder, s *Step) { s.Tolerated = true } }

// Commits marks a step after which, once all that are marked so are done, a
// failure no longer undoes the run.
func Commits() Option { return func(_ *Builder, s *Step) { s.Commits = true } }

// KeptBy forbids destroying the step's effect once the other was ever done.
func KeptBy(id StepID) Option { return func(_ *Builder, s *Step) { s.KeptBy = id } }

// Redoes lets the step ask that an earlier one be undone and done again.
func Redoes(id StepID) Option { return func(_ *Builder, s *Step) { s.Redoes = id } }

// Opens makes the step the opening one of a section.
func Opens(section string) Option {
	return func(b *Builder, s *Step) {
		sec := b.section(section)
		if sec.Open != "" || len(sec.Body) > 0 {
			b.fail("section %q: %s opens it too late", section, s.ID)
		}
		sec.Open = s.ID
	}
}

// In puts the step into a section's body: it needs the section's open step.
func In(section string) Option {
	return func(b *Builder, s *Step) {
		sec := b.section(section)
		if sec.Open != "" {
			s.Needs = addIDs(s.Needs, sec.Open)
		}
		if n := len(sec.Body); n == 0 || sec.Body[n-1] != s.ID { // ids are unique: a step is put in one after the other
			sec.Body = append(sec.Body, s.ID)
		}
	}
}

// Closes makes the step a closing one. It runs once open began, after all of the
// section's body and the closing steps before it settled, whatever became of them;
// in a bracket, closing steps of different lanes run side by side. All its edges and
// references are tolerant. InLane comes before it.
func Closes(section string) Option {
	return func(b *Builder, s *Step) {
		sec := b.section(section)
		before := sec.closersBefore(len(sec.Close), s.Lane, func(id StepID) string { return b.closing[id] })
		if len(before) == 0 {
			members := sec.Members()
			before = members[:len(members)-len(sec.Close)]
		}
		s.Settled = addIDs(s.Settled, before...)
		sec.Close = append(sec.Close, s.ID)
		b.closing[s.ID] = s.Lane
	}
}

// Section declares a section before its steps are added.
func (b *Builder) Section(id string, kind SectionKind) {
	if b.sections[id] != nil {
		b.fail("section %q declared twice", id)
	}
	b.sections[id] = &Section{ID: id, Kind: kind}
	b.p.Sections = append(b.p.Sections, Section{ID: id})
}

func (b *Builder) section(id string) *Section {
	if s := b.sections[id]; s != nil {
		return s
	}
	b.fail("section %q is not declared", id)
	return &Section{}
}

func (b *Builder) fail(format string, a ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("internal error: cannot build plan: "+format, a...)
	}
}

// Add puts a step into the plan and returns a reference to its output. Edges
// follow from the references in its input.
func Add[I, O any](b *Builder, d Def[I, O], id StepID, in I, opts ...Option) Value[O] {
	b.add(Step{ID: id, Kind: d.Kind, ObserveBy: d.ObserveBy, Scope: d.Scope, ReadOnly: d.ReadOnly, Idempotent: d.Idempotent}, in, opts)
	return Value[O]{ref: id}
}

func (b *Builder) add(s Step, in any, opts []Option) {
	id := s.ID
	raw, err := json.Marshal(in)
	if err != nil {
		b.fail("input of %s: %v", id, err)
	}
	s.In = raw
	for _, o := range opts {
		o(b, &s)
	}
	refs, err := References(raw)
	if err != nil {
		b.fail("step %s: %v", id, err)
	}
	s.Needs = addIDs(s.Needs, without(refs, s.Settled)...)
	if _, closes := b.closing[id]; closes { // it runs whatever came of the steps before it
		s.Settled, s.Needs = addIDs(s.Settled, s.Needs...), nil
	}
	if b.index[id] {
		b.fail("step %s added twice", id)
	}
	b.index[id] = true
	b.p.Steps = append(b.p.Steps, s)
}

// Build returns the finished, validated plan.
func (b *Builder) Build() (*Plan, error) {
	if b.err != nil {
		return nil, b.err
	}
	p := b.p
	p.Sections = nil
	for _, s := range b.p.Sections {
		p.Sections = append(p.Sections, *b.sections[s.ID])
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

// linearSearchMax is how long a list may be to be searched rather than indexed: most
// steps have two or three edges, a closing one as many as the plan has steps.
const linearSearchMax = 16

// addIDs appends the ids that are not in the list yet, in order.
func addIDs(to []StepID, ids ...StepID) []StepID {
	if len(to)+len(ids) <= linearSearchMax {
		for _, id := range ids {
			if id != "" && !contains(to, id) {
				to = append(to, id)
			}
		}
		return to
	}
	seen := set(to)
	seen[""] = true
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			to = append(to, id)
		}
	}
	return to
}

// without returns the ids that are not among the others.
func without(ids, others []StepID) []StepID {
	if len(others) == 0 {
		return ids
	}
	out, there := ids[:0:0], set(others)
	for _, id := range ids {
		if !there[id] {
			out = append(out, id)
		}
	}
	return out
}

func set(ids []StepID) map[StepID]bool {
	s := make(map[StepID]bool, len(ids)+1)
	for _, id := range ids {
		s[id] = true
	}
	return s
}
