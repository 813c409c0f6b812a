package engine

import (
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A combination is everything that a decision depends on.
type combination struct {
	command      Command
	journal      string // good, live, unreadable, damaged
	outcome      journal.Outcome
	instance     string // same, other, unknown
	resumePolicy plan.ResumePolicy
	boot         string // same, other
	related      bool   // of the new plan's operation and snapshotter
	samePlan     bool
	rollingBack  bool
	idle         bool
	cleanUp      bool // the new run's plan is irreversible
}

func (c combination) summary() (journal.Summary, Situation) {
	p := &plan.Plan{Operation: "op", Snapshotter: "db", Instance: "i-1", ResumePolicy: c.resumePolicy, Irreversible: c.cleanUp}
	r := journal.Summary{Operation: "op", Snapshotter: "db", ResumePolicy: c.resumePolicy, Idle: c.idle, Live: c.journal == "live"}
	r.InstanceID, r.BootID, r.Outcome, r.RollingBack, r.Digest = "i-1", "one", c.outcome, c.rollingBack, "other"
	if c.journal == "unreadable" || c.journal == "damaged" {
		r.Problem, r.Damaged = "journal "+c.journal, c.journal == "damaged"
	}
	here := Situation{Instance: "i-1", Boot: "one"}
	switch c.instance {
	case "other":
		here.Instance = "i-2"
	case "unknown":
		here.Instance = ""
	}
	if c.boot == "other" {
		here.Boot = "two"
	}
	if !c.related {
		r.Snapshotter = "another"
	}
	if c.samePlan {
		r.Digest = p.Digest()
	}
	if c.command == ToRun {
		here.Plan = p
	}
	return r, here
}

// Every combination has one decision: that of the first row which it fits. A row fits whatever it does not name.
func TestDecide(t *testing.T) {
	rows := []struct {
		when string
		fits func(combination) bool
		want Decision
	}{
		{"a boot moves a damaged journal away", func(c combination) bool { return c.journal == "damaged" && c.command == ToResume }, Decision{SetAside, ReasonDamaged}},
		{"nothing of a live run is touched", func(c combination) bool { return c.journal == "live" }, Decision{Leave, ReasonLive}},
		{"nor of one that nobody can read", func(c combination) bool { return c.journal != "good" }, Decision{Leave, ReasonUnreadable}},
		{"nor of one that has ended", func(c combination) bool { return c.outcome.Ended() }, Decision{Leave, ReasonEnded}},
		{"an image brings another instance's runs", func(c combination) bool { return c.instance == "other" }, Decision{SetAside, ReasonOtherInstance}},

		{"run: another snapshotter's", func(c combination) bool { return c.command == ToRun && !c.related }, Decision{Leave, ReasonUnrelated}},
		{"run: warming of another plan takes the place of the one before", func(c combination) bool {
			return c.command == ToRun && c.resumePolicy == plan.ResumeNextRun && (!c.samePlan || c.rollingBack)
		}, Decision{EndAsIs, ReasonSuperseded}},
		{"run: a clean-up takes the place of the one before", func(c combination) bool { return c.command == ToRun && c.cleanUp }, Decision{EndAsIs, ReasonSuperseded}},
		{"run: a snapshot starts over", func(c combination) bool { return c.command == ToRun && c.resumePolicy == plan.ResumeThisBoot }, Decision{Undo, ReasonNewSnapshot}},
		{"run: a copy that was being undone", func(c combination) bool {
			return c.command == ToRun && c.resumePolicy == plan.ResumeFirst && c.rollingBack
		}, Decision{Undo, ReasonUndoBegun}},
		{"run: a copy that failed", func(c combination) bool {
			return c.command == ToRun && c.resumePolicy == plan.ResumeFirst && c.outcome == journal.RunFailed
		}, Decision{Undo, ReasonFailed}},
		{"run: a copy is finished first", func(c combination) bool { return c.command == ToRun && c.resumePolicy == plan.ResumeFirst }, Decision{Continue, ReasonFirst}},
		{"run: the same plan goes on", func(c combination) bool { return c.command == ToRun && c.samePlan && !c.rollingBack }, Decision{Continue, ReasonSamePlan}},
		{"run: a restore half undone", func(c combination) bool {
			return c.command == ToRun && c.resumePolicy == plan.ResumeOrUndo && c.rollingBack
		}, Decision{Wait, ReasonUndoBegun}},
		{"run: a restore of another plan", func(c combination) bool { return c.command == ToRun && c.resumePolicy == plan.ResumeOrUndo }, Decision{Wait, ReasonOtherPlan}},
		{"run: an unmount that did nothing is in nobody's way", func(c combination) bool { return c.command == ToRun && c.resumePolicy == plan.ResumeManually && c.idle }, Decision{Leave, ReasonNothingDone}},
		{"run: an unmount half undone", func(c combination) bool {
			return c.command == ToRun && c.resumePolicy == plan.ResumeManually && c.rollingBack
		}, Decision{Wait, ReasonUndoBegun}},
		{"run: an unmount of another plan", func(c combination) bool { return c.command == ToRun && c.resumePolicy == plan.ResumeManually }, Decision{Wait, ReasonOtherPlan}},
		{"run: a mount half undone", func(c combination) bool { return c.command == ToRun && c.rollingBack }, Decision{UndoUnused, ReasonUndoBegun}},
		{"run: a mount of another plan", func(c combination) bool { return c.command == ToRun }, Decision{UndoUnused, ReasonOtherPlan}},

		{"resume: warming and copies are left to the next run of it", func(c combination) bool {
			return c.resumePolicy == plan.ResumeNextRun || c.resumePolicy == plan.ResumeFirst
		}, Decision{Leave, ReasonNextRun}},
		{"resume: a failed run", func(c combination) bool { return c.outcome == journal.RunFailed && !c.rollingBack }, Decision{Wait, ReasonFailed}},
		{"resume: an unmount that did nothing", func(c combination) bool { return c.resumePolicy == plan.ResumeManually && c.idle }, Decision{EndAsIs, ReasonNothingDone}},
		{"resume: an unmount", func(c combination) bool { return c.resumePolicy == plan.ResumeManually }, Decision{Wait, ReasonOperatorOnly}},
		{"resume: what was being undone", func(c combination) bool { return c.rollingBack }, Decision{Undo, ReasonUndoBegun}},
		{"resume: a mount", func(c combination) bool { return c.resumePolicy == plan.ResumeAnyBoot }, Decision{Continue, ReasonResumable}},
		{"resume: a snapshot or a restore of this boot", func(c combination) bool { return c.boot == "same" }, Decision{Continue, ReasonSameBoot}},
		{"resume: a snapshot or a restore of an older boot", func(combination) bool { return true }, Decision{Undo, ReasonOtherBoot}},
	}
	used := map[string]int{}
	for _, c := range combinations() {
		r, here := c.summary()
		got := Decide(c.command, r, here)
		for _, row := range rows {
			if !row.fits(c) {
				continue
			}
			used[row.when]++
			if got != row.want {
				t.Fatalf("%s: %+v is decided as %v, want %v", row.when, c, got, row.want)
			}
			break
		}
	}
	for _, row := range rows {
		if used[row.when] == 0 {
			t.Errorf("no combination is: %s", row.when)
		}
	}
}

// combinations are all there are, but for an idle run that cannot be: one that failed, or is being undone.
func combinations() (all []combination) {
	for _, command := range []Command{ToRun, ToResume} {
		for _, state := range []string{"good", "live", "unreadable", "damaged"} {
			for _, outcome := range []journal.Outcome{journal.Unfinished, journal.Interrupted, journal.RunFailed, journal.RunDone, journal.RolledBack, journal.Abandoned, journal.Aborted} {
				for _, instance := range []string{"same", "other", "unknown"} {
					for _, resumption := range []plan.ResumePolicy{plan.ResumeAnyBoot, plan.ResumeThisBoot, plan.ResumeOrUndo, plan.ResumeManually, plan.ResumeNextRun, plan.ResumeFirst} {
						for _, boot := range []string{"same", "other"} {
							for bits := range 32 {
								c := combination{command, state, outcome, instance, resumption, boot, bits&1 > 0, bits&2 > 0, bits&4 > 0, bits&8 > 0, bits&16 > 0}
								if c.idle && (c.rollingBack || outcome == journal.RunFailed) {
									continue
								}
								all = append(all, c)
							}
						}
					}
				}
			}
		}
	}
	return all
}
