package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// A LabelledSet is a larger set that can be restored.
type LabelledSet struct {
	Set       string   `json:"set"`
	Members   int      `json:"members"`
	Snapshots []string `json:"snapshots"`
	Already   bool     `json:"already"` // it was labelled before
	// Locked are those of its snapshots that are locked, as the settings of their hosts say, LockedUntil until when at least: zero
	// while none of them is complete. LockError says why not all that should be are.
	Locked      []string  `json:"locked,omitempty"`
	LockedUntil time.Time `json:"locked_until,omitzero"`
	LockError   string    `json:"lock_error,omitempty"`
	Parts       []SetPart `json:"parts,omitempty"` // of a dry run
}

// A SetPart is a snapshot of a larger set, or a copy of one.
type SetPart struct {
	SnapshotID string            `json:"snapshot_id"`
	Labelled   bool              `json:"labelled"`
	Tags       map[string]string `json:"tags"` // but for Snaptastic's own
}

// A LabelRequest names a larger set.
type LabelRequest struct {
	Set    string
	DryRun bool // only look
}

// An UndoRequest names snapshots by the key of the run that made them, or by the larger set that they are of.
type UndoRequest struct {
	Key, Set string // one of them
	DryRun   bool
}

// Undone is what an undo by tags did.
type Undone struct {
	Key     string         `json:"key,omitempty"`
	Set     string         `json:"set,omitempty"`
	Deleted []string       `json:"deleted"`
	Kept    []KeptSnapshot `json:"kept"`
	DryRun  bool           `json:"dry_run"`
}

// A KeptSnapshot is one that was not deleted, and why.
type KeptSnapshot struct {
	SnapshotID string `json:"snapshot_id"`
	Reason     string `json:"reason"`
	Labelled   bool   `json:"labelled,omitempty"` // it can be restored
}

const (
	lookAgain    = 500 * time.Millisecond
	defaultLag   = 15 * time.Second // how long EC2's answers may lag
	undoWorkers  = 8
	lockTogether = 200 // snapshots in one DescribeLockedSnapshots
)

// cloudAnywhere is the client of EC2 for what needs no settings file. Where there is one, its region counts.
func (e *Engine) cloudAnywhere(ctx context.Context) (*ec2.Client, error) {
	if err := e.loadSettings(); err != nil && !errors.Is(err, settings.ErrNotFound) {
		return nil, err
	}
	return e.cloud(ctx)
}

// tagged lists the snapshots that have a tag.
func (e *Engine) tagged(ctx context.Context, tag, value string) (*ec2.Client, []ec2.Snapshot, error) {
	c, err := e.cloudAnywhere(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, err := c.Snapshots(ctx, ec2.SnapshotQuery{Tags: map[string][]string{tag: {value}}})
	return c, found, err
}

// Label labels a larger set as restorable, all of it in one call, if it is complete and nothing of it failed, and then locks what the
// tags of its parts ask to lock. It can be repeated: the tags are all that there is to know, so that it has no journal. With a set that
// is labelled and not locked, it returns both the set and an error.
func (e *Engine) Label(ctx context.Context, r LabelRequest) (LabelledSet, error) {
	set := r.Set
	if err := snapset.CheckLarger(set); err != nil {
		return LabelledSet{}, usageError("--set: %w", err)
	}
	if r.DryRun {
		return e.lookAtSet(ctx, set)
	}
	until := time.Now().Add(cmp.Or(e.Settle, defaultLag))
	sent := false
	for {
		c, found, err := e.tagged(ctx, snapset.TagLargerSet, set)
		if err != nil {
			return LabelledSet{}, err
		}
		l := snapset.LargerSet(found)
		switch {
		case l.Already:
			return e.lockLabelled(ctx, c, found, LabelledSet{Set: set, Members: l.Members, Snapshots: l.IDs, Already: !sent})
		case l.Problem != "" && (!l.Waits || time.Now().After(until)):
			hint := "`snaptastic undo --set " + set + "` deletes its unlabelled snapshots"
			if len(l.IDs) == 0 {
				hint = "check the id of the set, and the account and the region"
			}
			return LabelledSet{}, hinted(hint, "cannot label set %s: %s", set, l.Problem)
		case l.Problem == "" && sent && time.Now().After(until): // who reads now may not see it yet; EC2 took the call
			return e.lockLabelled(ctx, c, found, LabelledSet{Set: set, Members: l.Members, Snapshots: l.IDs})
		case l.Problem == "" && !sent:
			tags := map[string]string{snapset.TagState: snapset.Consistent, snapset.TagCreated: l.Created.UTC().Format(time.RFC3339)}
			if err := c.CreateTagsTogether(ctx, l.IDs, tags); err != nil {
				return LabelledSet{}, err
			}
			sent, until = true, time.Now().Add(cmp.Or(e.Settle, defaultLag))
			continue
		}
		if !wait(ctx, lookAgain) {
			return LabelledSet{}, interrupted(ctx)
		}
	}
}

// lookAtSet returns what there is of a larger set. It waits a moment for one that is not whole, since EC2's answers lag.
func (e *Engine) lookAtSet(ctx context.Context, set string) (LabelledSet, error) {
	for until := time.Now().Add(cmp.Or(e.Settle, defaultLag)); ; {
		_, found, err := e.tagged(ctx, snapset.TagLargerSet, set)
		if err != nil {
			return LabelledSet{}, err
		}
		l := LabelledSet{Set: set, Snapshots: []string{}}
		for _, s := range found {
			labelled := snapset.Labelled(s)
			l.Members = max(l.Members, snapset.LargerMembers(s))
			l.Parts = append(l.Parts, SetPart{s.ID, labelled, snapset.OtherTags(s.Tags)})
			if labelled {
				l.Snapshots = append(l.Snapshots, s.ID)
			}
		}
		l.Already = l.Members > 0 && len(l.Snapshots) >= l.Members
		if l.Already || time.Now().After(until) {
			return l, nil
		}
		if !wait(ctx, lookAgain) {
			return LabelledSet{}, interrupted(ctx)
		}
	}
}

// lockLabelled locks each part of a labelled set as its tag says.
func (e *Engine) lockLabelled(ctx context.Context, c *ec2.Client, found []ec2.Snapshot, l LabelledSet) (LabelledSet, error) {
	wishes := map[string][]steps.Taken{}
	for _, s := range found {
		if wish := s.Tags[snapset.TagLock]; wish != "" && slices.Contains(l.Snapshots, s.ID) {
			wishes[wish] = append(wishes[wish], steps.Taken{SnapshotID: s.ID})
		}
	}
	var failures []error
	for _, tag := range slices.Sorted(maps.Keys(wishes)) {
		wish, err := snapset.ParseLockWish(tag)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		for some := range slices.Chunk(wishes[tag], lockTogether) {
			in := steps.LockSnapshotsIn{Set: plan.Literal(steps.SnapshotSet{Snapshots: some}), Mode: wish.Mode, Days: wish.Days, CoolOff: wish.CoolOff}
			locked, err := (&steps.Env{Cloud: c}).Lock(ctx, in)
			failures = append(failures, err)
			l.Locked = append(l.Locked, locked.SnapshotIDs...)
			if until := locked.Expires; !until.IsZero() && (l.LockedUntil.IsZero() || until.Before(l.LockedUntil)) {
				l.LockedUntil = until
			}
		}
	}
	if err := errors.Join(failures...); err != nil {
		l.LockError = oneLine(err.Error())
		return l, &Error{Code: SomeLanes, Err: plan.WithHint("fix that and run `snaptastic label --set "+l.Set+"` again",
			fmt.Errorf("set %s is labelled and can be restored, but not all locked: %s", l.Set, l.LockError))}
	}
	return l, nil
}

// UndoByTags deletes the unlabelled snapshots of a key or of a larger set, wherever they were made. It can be repeated, and
// ends when EC2 has shown none for a while.
func (e *Engine) UndoByTags(ctx context.Context, r UndoRequest) (Undone, error) {
	out := Undone{Key: r.Key, Set: r.Set, DryRun: r.DryRun, Deleted: []string{}, Kept: []KeptSnapshot{}}
	tag, value, what := snapset.TagKey, r.Key, "key "+r.Key
	var err error
	switch {
	case r.Key != "" && r.Set != "":
		return out, usageError("--key and --set cannot be used together: undo one after the other")
	case r.Key == "" && r.Set == "":
		return out, usageError("undo needs --key or --set")
	case r.Key != "":
		err = cmp.Or(journal.CheckKey(r.Key), e.keyIsLive(r.Key))
	default:
		tag, value, what = snapset.TagLargerSet, r.Set, "set "+r.Set
		err = snapset.CheckLarger(r.Set)
	}
	if known, is := errors.AsType[*Error](err); is {
		return out, known
	} else if err != nil {
		return out, usageError("%w", err)
	}
	asked := false
	for until := time.Now().Add(cmp.Or(e.Settle, defaultLag)); ; {
		c, found, err := e.tagged(ctx, tag, value)
		if err != nil {
			return out, err
		}
		ids := out.sort(found)
		if r.DryRun {
			out.Deleted = ids
			return out, nil
		}
		if len(ids) > 0 {
			if !asked {
				if err := e.confirm(ctx, "undo "+what, fmt.Sprintf("Delete the %d unlabelled snapshots of %s?", len(ids), what)); err != nil {
					return out, err
				}
				asked = true
				continue // it may have been labelled while the question was open
			}
			if err := e.deleteUnlabelled(ctx, c, ids, &out); err != nil {
				return out, err
			}
			until = time.Now().Add(cmp.Or(e.Settle, defaultLag))
		} else if time.Now().After(until) {
			break
		}
		if !wait(ctx, lookAgain) {
			return out, interrupted(ctx)
		}
	}
	if len(out.Kept) > 0 {
		return out, &Error{Code: Failed, Err: fmt.Errorf("not all of %s was deleted: kept %s, because %s", what, out.Kept[0].SnapshotID, out.Kept[0].Reason), InResult: false}
	}
	return out, nil
}

// keyIsLive refuses to undo what a process of this machine is at.
func (e *Engine) keyIsLive(key string) error {
	store, err := e.readState()
	if err != nil {
		return nil // no run was ever made here, or that cannot be told
	}
	id := store.RunOfKey(key)
	if id == "" {
		return nil
	}
	j, err := store.Read(id)
	if err == nil {
		_ = j.Close()
	}
	return liveOnly(id, err)
}

// liveOnly is the error for a live run, and nil for any other.
func liveOnly(id plan.RunID, err error) error {
	if errors.Is(err, journal.ErrLive) {
		return liveIsBusy(id, err)
	}
	return nil
}

// sort returns the snapshots to delete, and notes those that are kept. What was deleted may be shown for a moment.
func (u *Undone) sort(found []ec2.Snapshot) (ids []string) {
	for _, s := range found {
		why, mine := snapset.WhyKept(s)
		switch {
		case !mine || slices.Contains(u.Deleted, s.ID):
		case why == "":
			ids = append(ids, s.ID)
		case !slices.ContainsFunc(u.Kept, func(k KeptSnapshot) bool { return k.SnapshotID == s.ID }):
			u.Kept = append(u.Kept, KeptSnapshot{s.ID, why, snapset.Labelled(s)})
		}
	}
	return ids
}

// deleteUnlabelled marks snapshots as being deleted, so that nobody labels them, looks whether somebody has meanwhile, and
// deletes those that are as they were marked.
func (e *Engine) deleteUnlabelled(ctx context.Context, c *ec2.Client, ids []string, out *Undone) error {
	if err := c.CreateTags(ctx, ids, map[string]string{snapset.TagState: snapset.Deleting}); err != nil && ec2.ClassOf(err) != ec2.NotFound {
		return err
	}
	there, err := c.SnapshotsByID(ctx, ids...)
	if err != nil {
		return err
	}
	errs := make([]error, len(ids))
	var all errgroup.Group
	all.SetLimit(undoWorkers)
	for i, id := range ids {
		if s, seen := there[id]; seen && snapset.Labelled(s) {
			out.Kept = append(out.Kept, KeptSnapshot{id, "it was labelled meanwhile and can be restored", true})
			continue
		}
		out.Deleted = append(out.Deleted, id)
		all.Go(func() error {
			if errs[i] = c.DeleteSnapshot(ctx, id); ec2.ClassOf(errs[i]) == ec2.NotFound {
				errs[i] = nil
			}
			return nil
		})
	}
	_ = all.Wait()
	for i, err := range errs {
		if err != nil {
			out.Deleted = slices.DeleteFunc(out.Deleted, func(id string) bool { return id == ids[i] })
			out.Kept = append(out.Kept, KeptSnapshot{ids[i], err.Error(), false})
		}
	}
	return errors.Join(errs...)
}
