package engine

import (
	"snaptastic/journal"
	"snaptastic/plan"
)

// Command is who comes upon an unfinished run.
type Command string

const (
	ToRun    Command = "run"    // a new run of an operation
	ToResume Command = "resume" // a resume of whatever may go on unattended
)

// Action is what a command does with a run that it comes upon.
type Action string

const (
	Leave      Action = "leave"       // nothing
	Continue   Action = "continue"    // go on where it is
	Undo       Action = "undo"        // roll it back
	UndoUnused Action = "undo-unused" // roll back the unfinished lanes whose volumes nobody has used
	Wait       Action = "wait"        // an operator decides
	EndAsIs    Action = "end"         // end it as it is
	SetAside   Action = "set-aside"   // move its journal away
)

// Reason says why.
type Reason string

const (
	ReasonDamaged       Reason = "its journal is damaged"
	ReasonUnreadable    Reason = "its journal cannot be read"
	ReasonLive          Reason = "another process is working on it"
	ReasonEnded         Reason = "it has ended"
	ReasonOtherInstance Reason = "it belongs to another instance"
	ReasonUnrelated     Reason = "it is of another operation or snapshotter"
	ReasonFailed        Reason = "it failed"
	ReasonOperatorOnly  Reason = "only an operator may continue it"
	ReasonNothingDone   Reason = "it was interrupted before it changed anything"
	ReasonUndoBegun     Reason = "its rollback was in progress"
	ReasonOtherBoot     Reason = "it started before the last reboot"
	ReasonResumable     Reason = "it can continue after any reboot"
	ReasonSameBoot      Reason = "it started under this boot"
	ReasonSamePlan      Reason = "the plan is the same"
	ReasonOtherPlan     Reason = "the plan has changed"
	ReasonSuperseded    Reason = "the new run does what it still had to do"
	ReasonScratch       Reason = "it only used scratch volumes"
	ReasonNextRun       Reason = "the next run of the operation continues it"
	ReasonNewSnapshot   Reason = "a snapshot run starts over"
	ReasonFirst         Reason = "what it began is finished first"
)

// A Decision is what becomes of a run, and why.
type Decision struct {
	Action Action `json:"action"`
	Reason Reason `json:"reason"`
}

// A RunState is a run in a list, and what becomes of it.
type RunState struct {
	journal.Summary
	Decision `json:"-"`
}

// Was says how the run was left: interrupted or failed.
func (r RunState) Was() journal.Outcome {
	if r.Outcome == journal.Unfinished {
		return journal.Interrupted
	}
	return r.Outcome
}

// Situation is where and when a command comes upon a run.
type Situation struct {
	Instance string     // "" where that is not known
	Boot     string     // the kernel's boot id
	Plan     *plan.Plan // of the new run; nil for a resume
	Keyed    bool       // the new run has a key, which no unfinished one has
}

// Decide says what a command does with a run. It is the one place that knows: `run` and `resume` do what it says, `plan` and
// `status` foretell it.
func Decide(c Command, r journal.Summary, h Situation) Decision {
	switch {
	case r.Damaged && c == ToResume:
		return Decision{SetAside, ReasonDamaged}
	case r.Live:
		return Decision{Leave, ReasonLive}
	case r.Problem != "":
		return Decision{Leave, ReasonUnreadable}
	case r.Outcome.Ended():
		return Decision{Leave, ReasonEnded}
	case h.Instance != "" && r.InstanceID != "" && r.InstanceID != h.Instance:
		return Decision{SetAside, ReasonOtherInstance}
	case c == ToRun:
		return decideForRun(r, h)
	}
	return decideForResume(r, h.Boot)
}

// decideForRun: the same plan goes on where it was, and a different one takes the place of the old.
func decideForRun(r journal.Summary, h Situation) Decision {
	p := h.Plan
	same := r.Digest == p.Digest() && !r.RollingBack && !h.Keyed
	switch {
	case r.Operation != p.Operation || r.Snapshotter != p.Snapshotter:
		return Decision{Leave, ReasonUnrelated}
	case p.Irreversible, p.ResumePolicy == plan.ResumeNextRun && !same && r.InstanceID == p.Instance:
		return Decision{EndAsIs, ReasonSuperseded}
	case r.InstanceID != p.Instance:
		return Decision{Leave, ReasonUnrelated}
	case p.ResumePolicy == plan.ResumeUndoes:
		return Decision{Undo, ReasonScratch}
	case p.ResumePolicy == plan.ResumeThisBoot:
		return Decision{Undo, ReasonNewSnapshot}
	case p.ResumePolicy == plan.ResumeFirst && r.RollingBack:
		return Decision{Undo, ReasonUndoBegun}
	case p.ResumePolicy == plan.ResumeFirst && r.Outcome == journal.RunFailed:
		return Decision{Undo, ReasonFailed}
	case p.ResumePolicy == plan.ResumeFirst:
		return Decision{Continue, ReasonFirst}
	case same:
		return Decision{Continue, ReasonSamePlan}
	case p.ResumePolicy == plan.ResumeOrUndo && r.RollingBack:
		return Decision{Wait, ReasonUndoBegun}
	case p.ResumePolicy == plan.ResumeOrUndo:
		return Decision{Wait, ReasonOtherPlan}
	case p.ResumePolicy == plan.ResumeManually && r.Idle:
		return Decision{Leave, ReasonNothingDone} // its claims keep nobody out
	case p.ResumePolicy == plan.ResumeManually && r.RollingBack:
		return Decision{Wait, ReasonUndoBegun}
	case p.ResumePolicy == plan.ResumeManually:
		return Decision{Wait, ReasonOtherPlan}
	case r.RollingBack:
		return Decision{UndoUnused, ReasonUndoBegun}
	}
	return Decision{UndoUnused, ReasonOtherPlan}
}

// decideForResume: a mount goes on at any boot, a snapshot only under its own.
func decideForResume(r journal.Summary, boot string) Decision {
	switch {
	case r.ResumePolicy == plan.ResumeNextRun, r.ResumePolicy == plan.ResumeFirst: // neither is worth that a boot waits for hours
		return Decision{Leave, ReasonNextRun}
	case r.Outcome == journal.RunFailed && !r.RollingBack:
		return Decision{Wait, ReasonFailed}
	case r.ResumePolicy == plan.ResumeManually && r.Idle:
		return Decision{EndAsIs, ReasonNothingDone}
	case r.ResumePolicy == plan.ResumeManually:
		return Decision{Wait, ReasonOperatorOnly}
	case r.RollingBack:
		return Decision{Undo, ReasonUndoBegun}
	case r.ResumePolicy == plan.ResumeUndoes:
		return Decision{Undo, ReasonScratch}
	case r.ResumePolicy == plan.ResumeAnyBoot:
		return Decision{Continue, ReasonResumable}
	case r.BootID == boot:
		return Decision{Continue, ReasonSameBoot}
	}
	return Decision{Undo, ReasonOtherBoot}
}
