package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// TagDrill tells what a drill came to, on every snapshot of the set, in one call.
var TagDrill = plan.Def[TagDrillIn, DrillResult]{Kind: "tag-drill", ObserveBy: plan.ByState, Scope: plan.Cloud}

// TagDrillIn has what the steps of the drill found out; what they did not come to is missing.
type TagDrillIn struct {
	Choices plan.Value[Choices]        `json:"choices"`
	Chosen  []plan.Value[Choice]       `json:"chosen,omitempty"` // what each lane took in the end
	Probed  plan.Value[Probed]         `json:"probed"`
	Replays []plan.Value[Replayed]     `json:"replays"`
	Checks  []plan.Value[Checked]      `json:"checks,omitempty"`
	Mounts  []plan.Value[ScratchMount] `json:"mounts"`
}

// DrillResult is what a drill came to.
type DrillResult struct {
	plan.Drill
	SnapshotIDs []string `json:"snapshot_ids"`
}

// Facts are the drill, and the snapshots that it was about.
func (r DrillResult) Facts() plan.Facts { return plan.Facts{Drill: &r.Drill} }

func (w *Env) tagDrill() plan.Funcs[TagDrillIn, DrillResult] {
	return plan.Funcs[TagDrillIn, DrillResult]{
		Observe: func(_ context.Context, _ plan.Attempt, in TagDrillIn) (plan.Observed[DrillResult], error) {
			if _, known := in.Probed.Get(); !known && in.broken() == nil {
				return plan.Observed[DrillResult]{}, plan.Skip(errors.New("the drill was not completed, so it says nothing about the set"))
			}
			return plan.Observed[DrillResult]{State: plan.Absent}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in TagDrillIn) (DrillResult, error) {
			if b := in.broken(); b != nil {
				return w.tagBroken(ctx, b)
			}
			r := in.result(a)
			r.Reason = w.withoutScratch(a.Run, r.Reason)
			if len(r.SnapshotIDs) == 0 {
				return r, plan.Terminal("", errors.New("internal error: the drill does not know which snapshots it was about"))
			}
			at := in.Probed.Must().At
			if r.Reason != "" {
				return r, eventualErrorAction(w.Cloud.CreateTags(ctx, r.SnapshotIDs, snapset.FailedTags(at, r.Reason)))
			}
			// First the new tags: should the second call not come, the later of the two times counts.
			if err := w.Cloud.CreateTags(ctx, r.SnapshotIDs, snapset.VerifiedTags(at, seconds(r.RestoreSeconds))); err != nil {
				return r, eventualErrorAction(err)
			}
			return r, eventualErrorAction(w.Cloud.DeleteTags(ctx, r.SnapshotIDs, []string{snapset.TagVerifyFailed}))
		},
		// A result stays: it is true.
		Preview: func(TagDrillIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "tag the set %s or %s", snapset.TagVerified, snapset.TagVerifyFailed)
		},
	}
}

// broken is the set that was to be drilled, if it could not even be restored; nil otherwise.
func (in TagDrillIn) broken() *snapset.Broken {
	choices, _ := in.Choices.Get()
	return choices.Broken()
}

// tagBroken tells on what is left of a set that it no longer restores.
func (w *Env) tagBroken(ctx context.Context, b *snapset.Broken) (r DrillResult, err error) {
	at := time.Now().UTC()
	r.SnapshotIDs, r.Set, r.Reason, r.Phases = b.SnapshotIDs, b.Set, b.Reason, []plan.Phase{}
	if !b.Created.IsZero() {
		r.DataTime = &b.Created
		r.DataAgeSeconds = at.Sub(b.Created).Round(time.Millisecond).Seconds()
	}
	return r, eventualErrorAction(w.Cloud.CreateTags(ctx, r.SnapshotIDs, snapset.FailedTags(at, r.Reason)))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// result puts together what the steps found out.
func (in TagDrillIn) result(a plan.Attempt) DrillResult {
	p, set := in.Probed.Must(), setOf(taken(in.Choices.Must(), in.Chosen))
	r := DrillResult{SnapshotIDs: set.ids}
	r.Set, r.OK, r.Reason = set.name, p.Bad == "", p.Bad
	if !set.data.IsZero() {
		r.DataTime = &set.data
		r.DataAgeSeconds = p.At.Sub(set.data).Round(time.Millisecond).Seconds()
	}
	began, ok := runBegan(a.Run)
	if !ok {
		began = p.At
	}
	r.RestoreSeconds = max(p.At.Sub(began), 0).Round(time.Millisecond).Seconds()
	var replays, checks, mounts []Trial
	for _, v := range in.Replays {
		replays = append(replays, v.Must().Trial)
	}
	for _, v := range in.Checks {
		checks = append(checks, v.Must().Trial)
	}
	for _, v := range in.Mounts {
		mounts = append(mounts, v.Must().Trial)
	}
	// The volumes are restored side by side, so that the longest of each phase counts.
	var there time.Duration
	for _, t := range replays {
		there = max(there, t.Began.Sub(began))
	}
	phase := func(name string, took time.Duration) {
		r.Phases = append(r.Phases, plan.Phase{Name: name, Seconds: took.Round(time.Millisecond).Seconds()})
	}
	phase("volumes", there)
	phase("replay", longest(replays))
	if len(checks) > 0 {
		phase("check", longest(checks))
	}
	phase("mount", longest(mounts))
	phase("probe", time.Duration(p.Took))
	return r
}

func longest(of []Trial) (d time.Duration) {
	for _, t := range of {
		d = max(d, time.Duration(t.Took))
	}
	return d
}

// runBegan reads the time out of a run's id, to the millisecond.
func runBegan(run plan.RunID) (time.Time, bool) {
	begun, ok := runTime(run)
	_, rest, _ := strings.Cut(string(run), "T")
	var ms int
	if ok && len(rest) >= 9 {
		if _, err := fmt.Sscanf(rest[6:9], "%03d", &ms); err == nil {
			begun = begun.Add(time.Duration(ms) * time.Millisecond)
		}
	}
	return begun, ok
}
