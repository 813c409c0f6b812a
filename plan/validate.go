package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Validate checks what the runner relies on: unique ids, steps in topological
// order, known lanes, references covered by edges, well-formed sections. It
// takes time linear in steps and edges, but for closing steps, which are few.
func (p *Plan) Validate() error {
	if len(p.Steps) == 0 {
		return fmt.Errorf("plan has no steps")
	}
	switch p.ResumePolicy {
	case ResumeAnyBoot, ResumeThisBoot, ResumeOrUndo, ResumeFirst, ResumeManually, ResumeUndoes, ResumeNextRun:
	default:
		return fmt.Errorf("plan has no such resumption: %q", p.ResumePolicy)
	}
	lanes := map[string]bool{"": true}
	for _, l := range p.Lanes {
		if l.ID == "" || lanes[l.ID] {
			return fmt.Errorf("lane %q is empty or declared twice", l.ID)
		}
		lanes[l.ID] = true
	}
	index := make(map[StepID]int, len(p.Steps))
	for i := range p.Steps {
		if err := p.validateStep(i, index, lanes); err != nil {
			return err
		}
		index[p.Steps[i].ID] = i
	}
	for i := range p.Steps {
		if k := p.Steps[i].KeptBy; k != "" {
			if _, ok := index[k]; !ok {
				return fmt.Errorf("step %s is kept by %s, which is not in the plan", p.Steps[i].ID, k)
			}
		}
		if r := p.Steps[i].Redoes; r != "" {
			if at, ok := index[r]; !ok || at >= i {
				return fmt.Errorf("step %s redoes %s, which is not before it", p.Steps[i].ID, r)
			}
		}
	}
	return p.validateSections(index)
}

func (p *Plan) validateStep(i int, index map[StepID]int, lanes map[string]bool) error {
	s := &p.Steps[i]
	if s.ID == "" || strings.ContainsAny(string(s.ID), " \t\r\n\x00") {
		return fmt.Errorf("step id %q is empty or has spaces", s.ID)
	}
	if _, dup := index[s.ID]; dup {
		return fmt.Errorf("step %s is in the plan twice", s.ID)
	}
	if s.Kind == "" {
		return fmt.Errorf("step %s has no kind", s.ID)
	}
	switch s.ObserveBy {
	case ByState, ByToken, Blind:
	case "":
		if !s.ReadOnly {
			return fmt.Errorf("step %s changes the world and does not say how it looks", s.ID)
		}
	default:
		return fmt.Errorf("step %s looks by %q, which does not exist", s.ID, s.ObserveBy)
	}
	if s.Scope != Cloud && s.Scope != Boot {
		return fmt.Errorf("step %s has no such scope: %q", s.ID, s.Scope)
	}
	if !lanes[s.Lane] {
		return fmt.Errorf("step %s is in lane %q, which is not declared", s.ID, s.Lane)
	}
	if s.Timeout < 0 {
		return fmt.Errorf("step %s has a negative time-out", s.ID)
	}
	deps := make(map[StepID]bool, len(s.Needs)+len(s.Settled))
	for _, list := range [][]StepID{s.Needs, s.Settled} {
		for _, d := range list {
			if _, ok := index[d]; !ok {
				return fmt.Errorf("step %s comes after %s, which is not before it in the plan", s.ID, d)
			}
			deps[d] = true
		}
	}
	if len(s.In) > 0 && !json.Valid(s.In) {
		return fmt.Errorf("step %s: input is not JSON", s.ID)
	}
	refs, err := References(s.In)
	if err != nil {
		return fmt.Errorf("step %s: %w", s.ID, err)
	}
	for _, r := range refs {
		if !deps[r] {
			return fmt.Errorf("step %s refers to %s and does not come after it", s.ID, r)
		}
	}
	return nil
}

func (p *Plan) validateSections(index map[StepID]int) error {
	seen := map[string]bool{}
	atomic := map[StepID]string{}
	for _, sec := range p.Sections {
		if sec.ID == "" || seen[sec.ID] {
			return fmt.Errorf("section %q is empty or declared twice", sec.ID)
		}
		seen[sec.ID] = true
		if sec.Kind != Atomic && sec.Kind != Bracket {
			return fmt.Errorf("section %q is of no such kind: %q", sec.ID, sec.Kind)
		}
		if len(sec.Close) == 0 || (sec.Kind == Atomic && sec.Open == "") {
			return fmt.Errorf("section %q lacks its open or close step", sec.ID)
		}
		ids := sec.Members()
		lane := func(id StepID) string { return p.Steps[index[id]].Lane }
		after := p.closersBeforeEach(&sec, index)
		var inside, outside map[StepID]bool
		if i, ok := index[sec.Open]; ok && sec.Kind == Atomic {
			inside, outside = set(ids), set(p.Steps[i].Needs)
		}
		for at, id := range ids {
			i, ok := index[id]
			if !ok {
				return fmt.Errorf("section %q holds %s, which is not in the plan", sec.ID, id)
			}
			if at < len(ids)-len(sec.Close) && contains(sec.Close, id) {
				return fmt.Errorf("section %q: %s closes it and is in it as well", sec.ID, id)
			}
			if sec.Kind == Atomic {
				if other, dup := atomic[id]; dup {
					return fmt.Errorf("step %s is in two atomic sections, %q and %q", id, other, sec.ID)
				}
				atomic[id] = sec.ID
			}
			before := ids[:at]
			if n := len(ids) - len(sec.Close); at >= n {
				before = sec.closersBefore(at-n, p.Steps[i].Lane, lane) // which wait for the others
				if len(after[id]) == 0 {
					before = slices.Concat(before, ids[:n])
				}
			}
			if err := sec.validateMember(&p.Steps[i], before, after[id]); err != nil {
				return err
			}
			if sec.Kind == Atomic {
				if err := sec.validateOutside(&p.Steps[i], inside, outside); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Members are the steps of a section in their order: open, body, closing steps.
func (sec *Section) Members() (ids []StepID) {
	if sec.Open != "" {
		ids = append(ids, sec.Open)
	}
	return slices.Concat(ids, sec.Body, sec.Close)
}

// closersBefore are those that the closing step at a place has to wait for, the others coming before these: the one before it
// that is of its lane or of none, and for a step of no lane all after that as well. None: it waits for the body.
func (sec *Section) closersBefore(at int, lane string, laneOf func(StepID) string) []StepID {
	for i := at - 1; i >= 0; i-- {
		of := laneOf(sec.Close[i])
		switch {
		case of == "" && lane == "" && sec.Kind == Bracket:
			return sec.Close[i:at]
		case sec.Kind == Atomic || of == lane || of == "":
			return sec.Close[i : i+1]
		}
	}
	if lane == "" {
		return sec.Close[:at]
	}
	return nil
}

// closersBeforeEach are the closing steps that each comes after, by whatever steps that close the section as well: plans of
// earlier versions have them in one chain.
func (p *Plan) closersBeforeEach(sec *Section, index map[StepID]int) map[StepID]map[StepID]bool {
	before := map[StepID]map[StepID]bool{}
	for _, id := range sec.Close {
		all := map[StepID]bool{}
		if i, ok := index[id]; ok {
			for _, d := range p.Steps[i].Settled {
				if further, closes := before[d]; closes {
					all[d] = true
					maps.Copy(all, further)
				}
			}
		}
		before[id] = all
	}
	return before
}

// validateMember checks the edges that make the closing steps come last, those of a
// lane one after the other, and open first. before is what a closing step has to wait for,
// by itself or by the closing steps that it comes after.
func (sec *Section) validateMember(s *Step, before []StepID, after map[StepID]bool) error {
	switch {
	case s.ID == sec.Open:
	case contains(sec.Close, s.ID):
		waits := set(s.Settled)
		for _, id := range before {
			if !waits[id] && !after[id] {
				return fmt.Errorf("section %q: %s closes it and does not wait for %s", sec.ID, s.ID, id)
			}
		}
		if len(s.Needs) > 0 {
			return fmt.Errorf("section %q: %s closes it and must not need any step", sec.ID, s.ID)
		}
	default:
		if sec.Open != "" && !contains(s.Needs, sec.Open) && !contains(s.Settled, sec.Open) {
			return fmt.Errorf("section %q: %s is in it and does not need %s", sec.ID, s.ID, sec.Open)
		}
	}
	return nil
}

// validateOutside: an atomic section runs in one go, so what its members come
// after must be what its open step comes after.
func (sec *Section) validateOutside(s *Step, inside, before map[StepID]bool) error {
	if s.ID == sec.Open {
		return nil
	}
	for _, list := range [][]StepID{s.Needs, s.Settled} {
		for _, d := range list {
			if !inside[d] && !before[d] {
				return fmt.Errorf("section %q: %s comes after %s, which %s does not need", sec.ID, s.ID, d, sec.Open)
			}
		}
	}
	return nil
}
