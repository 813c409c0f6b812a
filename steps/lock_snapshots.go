package steps

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// LockSnapshots locks each snapshot of a set that is labelled, so that nobody deletes it before its time. It is never undone:
// a labelled set stays, and a lock in compliance mode cannot be taken back.
var LockSnapshots = plan.Def[LockSnapshotsIn, LockedSet]{Kind: "lock-snapshots", ObserveBy: plan.ByState, Scope: plan.Cloud}

// LockSnapshotsIn says how.
type LockSnapshotsIn struct {
	Set     plan.Value[SnapshotSet] `json:"set"`
	Mode    string                  `json:"mode"` // governance or compliance
	Days    int32                   `json:"days"` // from the completion of each snapshot
	CoolOff int32                   `json:"cool_off_hours,omitempty"`
}

// LockedSet is a set that is locked.
type LockedSet struct {
	SnapshotIDs  []string  `json:"snapshot_ids"`
	State        string    `json:"state"` // as EC2 calls it
	Days         int32     `json:"days"`
	Expires      time.Time `json:"expires,omitzero"` // of the first to expire; zero: not before the snapshots are completed
	CoolOffUntil time.Time `json:"cool_off_until,omitzero"`
}

// Facts say how long the set is locked.
func (s LockedSet) Facts() plan.Facts {
	text := fmt.Sprintf("locked (%s) for %d days", s.State, s.Days)
	if !s.Expires.IsZero() {
		text += ", until " + stamp(s.Expires)
	}
	facts := plan.Facts{Remarks: []string{text}}
	if !s.CoolOffUntil.IsZero() {
		facts.Warnings = []string{"nobody can unlock or delete these snapshots from " + stamp(s.CoolOffUntil) + " on, until the lock expires"}
	}
	return facts
}

func (s *LockedSet) add(id string, lock ec2.Lock) {
	s.SnapshotIDs = append(s.SnapshotIDs, id)
	s.State, s.CoolOffUntil = lock.State, lock.CoolOffUntil
	if !lock.Expires.IsZero() && (s.Expires.IsZero() || lock.Expires.Before(s.Expires)) {
		s.Expires = lock.Expires
	}
}

// satisfiedBy says whether a lock is at least what is wanted.
func (in LockSnapshotsIn) satisfiedBy(lock ec2.Lock) bool {
	return lock.Locked() && lock.Days >= in.Days && (in.Mode == ec2.Governance || lock.State != ec2.Governance)
}

func (w *Env) lockSnapshots() plan.Funcs[LockSnapshotsIn, LockedSet] {
	return plan.Funcs[LockSnapshotsIn, LockedSet]{
		Observe: func(ctx context.Context, _ plan.Attempt, in LockSnapshotsIn) (plan.Observed[LockedSet], error) {
			out, missing, err := w.lockedOf(ctx, in)
			if err != nil || len(missing) > 0 {
				return plan.Observed[LockedSet]{State: plan.Absent}, errorAction(err)
			}
			return plan.Observed[LockedSet]{State: plan.Satisfied, Out: out}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in LockSnapshotsIn) (LockedSet, error) {
			out, err := w.Lock(ctx, in)
			if err != nil {
				a.Report(plan.Progress{Text: fmt.Sprintf("%d of %s locked", len(out.SnapshotIDs), counted(len(in.Set.Must().Snapshots), "snapshot"))})
			}
			return out, eventualErrorAction(err)
		},
		Preview: func(in LockSnapshotsIn) plan.Preview {
			text := fmt.Sprintf("lock it (%s) for %d days", in.Mode, in.Days)
			if in.Mode != ec2.Governance {
				text += fmt.Sprintf("; WARNING: after %s nobody can unlock or delete it before, neither root nor AWS", units.Count(int(in.CoolOff), "hour", "hours"))
			}
			return plan.PreviewOf(plan.PreviewChange, "%s", text)
		},
	}
}

// Lock locks what of a set is not locked as it should be, and returns all that is. The error is the first one; the others are tried.
func (w *Env) Lock(ctx context.Context, in LockSnapshotsIn) (LockedSet, error) {
	out, missing, err := w.lockedOf(ctx, in)
	if err != nil {
		return LockedSet{}, err
	}
	locks, failed := make([]ec2.Lock, len(missing)), make([]error, len(missing))
	var each errgroup.Group
	each.SetLimit(tagConcurrency)
	for i, id := range missing {
		each.Go(func() error {
			locks[i], failed[i] = w.Cloud.LockSnapshot(ctx, ec2.LockRequest{SnapshotID: id, Mode: in.Mode, Days: in.Days, CoolOff: in.CoolOff})
			return nil
		})
	}
	_ = each.Wait()
	for i, id := range missing {
		if failed[i] == nil {
			out.add(id, locks[i])
		} else if err == nil {
			err = failed[i]
		}
	}
	return out, err
}

// lockedOf is what of a set is locked as it should be, and which of its snapshots are not.
func (w *Env) lockedOf(ctx context.Context, in LockSnapshotsIn) (out LockedSet, missing []string, err error) {
	ids := in.Set.Must().ids()
	there, err := w.Cloud.LockedSnapshots(ctx, ids...)
	if err != nil && !notFound(err) { // EC2 may not show a new snapshot yet
		return out, nil, err
	}
	out.Days = in.Days
	for _, id := range ids {
		if lock := there[id]; in.satisfiedBy(lock) {
			out.add(id, lock)
		} else {
			missing = append(missing, id)
		}
	}
	return out, missing, nil
}
