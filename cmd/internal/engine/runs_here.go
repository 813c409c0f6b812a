package engine

import (
	"errors"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// runsHere is what the unfinished runs of this state directory are about.
type runsHere struct {
	steps.RunsHere
	claimed map[string]string // mount points of runs that wait for an operator: also of what they have done, for a rollback undoes it
}

// runsHere looks at all unfinished runs but self: at their journals, or, of a live one, at what it answers.
func (e *Engine) runsHere(self plan.RunID) (here runsHere, err error) {
	here = runsHere{steps.RunsHere{Unfinished: map[string]bool{}, InUse: map[string]string{}}, map[string]string{}}
	store, err := e.readState()
	if errors.Is(err, journal.ErrNoState) {
		return here, nil
	}
	if err != nil {
		return here, err
	}
	runs, err := store.List()
	if err != nil {
		return here, err
	}
	for _, r := range runs {
		if r.Run == self || !r.Live && r.Problem == "" && r.Outcome.Ended() {
			continue
		}
		here.Unfinished[string(r.Run)] = true
		if r.Problem != "" && !r.Live {
			continue
		}
		if err := here.read(store, r); err != nil {
			return here, err
		}
	}
	return here, nil
}

// read adds what a run has chosen. A run may begin or end while it is looked at.
func (h *runsHere) read(store *journal.Store, r journal.Summary) (err error) {
	const tries = 20
	for range tries {
		var j *journal.Journal
		if j, err = store.Read(r.Run); err == nil {
			h.uses(r.Run, j.Records())
			h.copies(r.Run, j.Plan())
			if !r.Live {
				for _, claim := range j.Plan().Claims() {
					if point, is := strings.CutPrefix(claim, "mount:"); is {
						h.claimed[point] = string(r.Run)
					}
				}
			}
			return j.Close()
		}
		if !errors.Is(err, journal.ErrLive) {
			return err
		}
		var s status
		if s, err = askStatus(store.Socket(r.Run)); err == nil {
			h.uses(r.Run, s.Records)
			h.copies(r.Run, s.Plan)
			return nil
		}
		time.Sleep(100 * time.Millisecond) // between its journal and its socket
	}
	return hinted("wait until it has ended, or stop it", "cannot clean up while run %s does not say which snapshots it uses: %w", r.Run, err)
}

// uses adds the snapshots that steps name as chosen or taken.
func (h *runsHere) uses(run plan.RunID, records map[plan.StepID]journal.Record) {
	for _, rec := range records {
		if rec.Facts == nil {
			continue
		}
		for _, f := range append(rec.Facts.Each, *rec.Facts) {
			if f.SnapshotID != "" {
				h.InUse[f.SnapshotID] = string(run)
			}
		}
	}
}

// leftByDrills tells which of some scratch volumes ended drills of this state directory have made, by their journals: tags alone may
// have been copied. A volume whose id was never recorded, since the drill was killed as it made it, is known by its token.
func (e *Engine) leftByDrills(volumes []ec2.Volume) map[string]string {
	left := map[string]string{}
	store, err := e.readState()
	if err != nil {
		return left
	}
	for _, v := range volumes {
		if v.Tags[snapset.TagPurpose] != snapset.PurposeVerify {
			continue
		}
		j, err := store.Read(plan.RunID(v.Tags[snapset.TagRun]))
		if err != nil { // live, unreadable, or another's
			continue
		}
		records := j.Records()
		for _, s := range j.Plan().Steps {
			r := records[s.ID]
			if s.Kind != steps.CreateVolume.Kind || !j.Meta().Outcome.Ended() {
				continue
			}
			if r.Facts != nil && r.Facts.VolumeID == v.ID || (r.Facts == nil || r.Facts.VolumeID == "") && r.Token != "" && r.Token == v.Tags[snapset.TagToken] {
				left[v.ID] = string(j.Meta().Run)
			}
		}
		_ = j.Close()
	}
	return left
}

// copies adds the snapshots that a run is to copy, also those whose turn has not come.
func (h *runsHere) copies(run plan.RunID, p *plan.Plan) {
	for i := range p.Steps {
		for _, id := range steps.CopySources(&p.Steps[i]) {
			h.InUse[id] = string(run)
		}
	}
}
