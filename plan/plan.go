// Package plan is the data a run executes: a DAG of steps with their inputs,
// edges, lanes and sections, and the contract (Handler, Attempt, verdicts)
// between whoever executes a step and whoever knows what it means.
//
// A plan is immutable and self-contained: it prints, diffs, stores and hashes,
// and a run killed last week is resumed from it alone. The package imports the
// standard library only, knows no step kind by name and never executes
// anything.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Schema is the version of the plan's JSON form. A plan of a newer schema is
// refused before anything is done.
const Schema = 1

// Identifiers. A RunID sorts by time; a StepID is unique in its plan and is
// what an operator types (`resume --redo STEP`), so it has no spaces.
type (
	RunID  string
	StepID string
	Kind   string
)

// ObserveBy says when the runner looks at the world before it acts.
type ObserveBy string

const (
	// ByState steps can see their effect in the world: always look first.
	ByState ObserveBy = "state"
	// ByToken steps find their effect by the idempotency token they left on
	// it: look when an earlier attempt had started.
	ByToken ObserveBy = "token"
	// Blind steps leave nothing to look at (a user's hook).
	Blind ObserveBy = "blind"
)

// Scope says what a step's effect outlives.
type Scope string

const (
	// Cloud effects survive a reboot.
	Cloud Scope = "cloud"
	// Boot effects are gone under another boot id: a mount, a device node.
	Boot Scope = "boot"
)

// ResumePolicy says what a bare `resume` may do with an interrupted run.
type ResumePolicy string

const (
	// ResumeAnyBoot continues at any boot: a mount.
	ResumeAnyBoot ResumePolicy = "continue"
	// ResumeThisBoot continues under the boot id it began with; under
	// another one it only closes what is open and undoes: a snapshot.
	ResumeThisBoot ResumePolicy = "continue-this-boot"
	// ResumeOrUndo continues under the boot id it began with; under another
	// one it is undone as a whole: a restore in place. A new run continues it
	// where the plan is the same, and otherwise waits for an operator.
	ResumeOrUndo ResumePolicy = "continue-or-undo"
	// ResumeManually never resumes by itself: an operator has to name the run. An unmount that was
	// interrupted must not detach a volume at some later boot.
	ResumeManually ResumePolicy = "ask"
	// ResumeFirst leaves it to the next run of the same operation, which finishes it first, at any boot and whatever its
	// own plan: what it copies takes hours, and is of use to the new run as well. What failed is undone: a copy of sets.
	ResumeFirst ResumePolicy = "continue-first"
	// ResumeUndoes never continues: what was interrupted is closed and undone. A drill measures how long
	// a restore takes, and works on volumes that nobody else has a use for.
	ResumeUndoes ResumePolicy = "undo"
	// ResumeNextRun leaves it to the next run of the same operation, which continues where the plan is the same. No boot waits for
	// it, and it claims nothing while no process runs it: warming.
	ResumeNextRun ResumePolicy = "next-run"
)

// A Plan is what a recipe makes and a run executes.
type Plan struct {
	Schema       int          `json:"schema"`
	Operation    string       `json:"operation"`
	Snapshotter  string       `json:"snapshotter"`
	Instance     string       `json:"instance"` // EC2 instance id it was compiled for
	ResumePolicy ResumePolicy `json:"resumption"`
	// UndoOnFailure: a run that fails undoes itself and ends (a snapshot run:
	// unlabelled snapshots are worth nothing; a group of which one volume
	// cannot be unmounted stays mounted). Where steps are marked Commits, only
	// until all of them are done.
	UndoOnFailure bool `json:"undo_on_failure,omitempty"`
	// Irreversible: what the run does cannot be undone (a clean-up), so a
	// rollback is refused.
	Irreversible bool      `json:"irreversible,omitempty"`
	Lanes        []Lane    `json:"lanes,omitempty"`
	Sections     []Section `json:"sections,omitempty"`
	Steps        []Step    `json:"steps"` // in topological order
}

// A Lane is a failure domain: one volume. Claims name what no other run may
// touch while this lane is unfinished, such as "mount:/mnt/solr".
type Lane struct {
	ID     string   `json:"id"`
	Claims []string `json:"claims,omitempty"`
	Facts  Facts    `json:"facts,omitzero"` // what the recipe knows of it
}

// A Step is one effect on the world, or one look at it.
type Step struct {
	ID        StepID          `json:"id"`
	Kind      Kind            `json:"kind"`
	Title     string          `json:"title,omitempty"` // what it does, for people
	ObserveBy ObserveBy       `json:"look,omitempty"`
	Scope     Scope           `json:"scope,omitempty"`
	ReadOnly  bool            `json:"read_only,omitempty"`
	Lane      string          `json:"lane,omitempty"` // "" belongs to the whole plan
	In        json.RawMessage `json:"in,omitempty"`   // may hold {"$step": ID}
	// Needs must be done first; when one failed or was skipped, so is this.
	Needs []StepID `json:"needs,omitempty"`
	// Settled must have ended first, whatever their result. A reference to
	// one that is not done resolves to null.
	Settled []StepID `json:"settled,omitempty"`
	Timeout Duration `json:"timeout,omitempty"` // all tries together; 0 for the runner's default
	// Once (Blind only): after a crash inside it, ask the operator instead
	// of doing it again.
	Once bool `json:"once,omitempty"`
	// Tolerated: its failure is reported and does not count (a hook with
	// on_failure = "continue").
	Tolerated bool `json:"tolerated,omitempty"`
	// Idempotent (ByToken only): doing it again under the same token is safe
	// at any time (EC2's ClientToken), so nothing waits for a settle window.
	Idempotent bool `json:"idempotent,omitempty"`
	// Commits: once all steps marked so are done, a failure no longer undoes
	// the run (Plan.UndoOnFailure).
	Commits bool `json:"commits,omitempty"`
	// KeptBy names a step; once that was ever done, undoing this one may
	// leave its effect in place and must not destroy it (Attempt.Keep).
	KeptBy StepID `json:"kept_by,omitempty"`
	// Redoes names an earlier step that this one depends on. When this one finds
	// its effect to be of no use, it is undone and done again.
	Redoes StepID `json:"redoes,omitempty"`
	// Held (the open step of an atomic section) are the programs that it
	// starts and that run until the section is closed. For people: the step's
	// input is what counts.
	Held []Held `json:"held,omitempty"`
}

// Held is a program that holds something across an atomic section, such as a
// table lock.
type Held struct {
	Hook      string   `json:"hook"`
	Of        string   `json:"of,omitempty"` // the lane that it is for; "" for all
	Command   []string `json:"command"`
	Tolerated bool     `json:"tolerated,omitempty"` // its failure does not count
}

// SectionKind tells the two kinds of section apart.
type SectionKind string

const (
	// Atomic: freeze … thaw. Outcomes are recorded together, after close.
	Atomic SectionKind = "atomic"
	// Bracket: pre hook … post hook.
	Bracket SectionKind = "bracket"
)

// A Section is the steps between an opening step and the closing ones. These run
// once the opening step began, after every body step settled, in their order, each
// whatever became of the steps before it; in a bracket, those of different lanes run
// side by side. A bracket may lack its opening step: it is closed once any body step began. Closing steps of a bracket that are not blind
// (unmount, detach, delete) take down what the body made: once the first of them
// began, the body is not gone on with. A rollback runs closing steps and undoes none.
type Section struct {
	ID    string      `json:"id"`
	Kind  SectionKind `json:"kind"`
	Open  StepID      `json:"open,omitempty"`
	Body  []StepID    `json:"body,omitempty"`
	Close Closers     `json:"close"`
}

// Closers are the closing steps of a section, in order.
type Closers []StepID

// UnmarshalJSON also reads a single step, as plans of earlier versions have it.
func (c *Closers) UnmarshalJSON(b []byte) error {
	var one StepID
	if json.Unmarshal(b, &one) == nil {
		if *c = nil; one != "" {
			*c = Closers{one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]StepID)(c))
}

// Digest identifies the plan: SHA-256 over its JSON form, in hex.
func (p *Plan) Digest() string {
	b, err := json.Marshal(p)
	if err != nil { // every field marshals; a failure is ours
		panic(fmt.Sprintf("internal error: plan does not marshal: %v", err))
	}
	return DigestOf(b)
}

// DigestOf is the digest of a stored plan.
func DigestOf(stored []byte) string {
	sum := sha256.Sum256(stored)
	return hex.EncodeToString(sum[:])
}

// Decode reads a stored plan and validates it, so that a damaged one is
// refused before anything is done.
func Decode(b []byte) (*Plan, error) {
	var head struct{ Schema int }
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("cannot read plan: %w", err)
	}
	if head.Schema > Schema || head.Schema < 1 {
		return nil, fmt.Errorf("cannot use plan: it has schema %d, this version supports up to %d", head.Schema, Schema)
	}
	var p Plan
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("cannot read plan: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

// Claims lists what no other run may touch while any of the named lanes is
// unfinished; all lanes' claims without arguments.
func (p *Plan) Claims(lanes ...string) []string {
	var out []string
	wanted := make(map[string]bool, len(lanes))
	for _, l := range lanes {
		wanted[l] = true
	}
	for _, l := range p.Lanes {
		if len(lanes) > 0 && !wanted[l.ID] {
			continue
		}
		out = append(out, l.Claims...)
	}
	return out
}

func contains[T comparable](s []T, v T) bool {
	return slices.Contains(s, v)
}

// A Duration is a time.Duration that reads "1m30s" in JSON.
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}
