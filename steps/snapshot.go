package steps

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// Snapshot is the one EC2 call inside a freeze.
var Snapshot = plan.Def[SnapshotIn, SnapshotSet]{Kind: "snapshot", ObserveBy: plan.ByToken, Scope: plan.Cloud}

// SnapshotIn names the volumes: one is snapshotted by itself, several by one CreateSnapshots.
type SnapshotIn struct {
	Members     []Member `json:"members"`
	Description string   `json:"description"`
	FilterKeys  []string `json:"filter_keys"` // which of the tags that they will have are filter tags
	// Part is the larger set that the snapshots are of; nil for none. What they have by TagSnapshots otherwise they then have from
	// the beginning: Tags, and a date from ExpireAfter on (0: none).
	Part        *Part             `json:"part,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	ExpireAfter plan.Duration     `json:"expire_after,omitempty"`
}

// A Part is a part of a larger set, which somebody else labels.
type Part struct {
	Set     string `json:"set"`
	Members int    `json:"members"` // of the whole of it
	// Lock is how whoever labels it locks these snapshots then: a [snapset.LockWish]. Empty: not at all.
	Lock string `json:"lock,omitempty"`
}

// SnapshotSet is the snapshots of one moment.
type SnapshotSet struct {
	Run       string  `json:"run"`
	Token     string  `json:"token"`
	Snapshots []Taken `json:"snapshots"`
	// Unplanned are of volumes that are not in the plan: attached after the exclusions were read.
	Unplanned []string `json:"strangers,omitempty"`
}

// Taken is a snapshot of one member.
type Taken struct {
	SnapshotID string    `json:"snapshot_id"`
	VolumeID   string    `json:"volume_id"`
	MountPoint string    `json:"mount_point"`
	Size       int32     `json:"size"` // GiB of its volume
	Started    time.Time `json:"started,omitzero"`
}

// Facts are those of each snapshot.
func (s SnapshotSet) Facts() (facts plan.Facts) {
	for _, t := range s.Snapshots {
		facts.Each = append(facts.Each, plan.Facts{VolumeID: t.VolumeID, SnapshotID: t.SnapshotID, MountPoint: t.MountPoint, SizeGiB: t.Size})
	}
	return facts
}

func (s SnapshotSet) of(mountPoint string) (Taken, bool) {
	for _, t := range s.Snapshots {
		if t.MountPoint == mountPoint {
			return t, true
		}
	}
	return Taken{}, false
}

func (s SnapshotSet) ids() []string {
	ids := make([]string, len(s.Snapshots))
	for i, t := range s.Snapshots {
		ids[i] = t.SnapshotID
	}
	return ids
}

func (w *Env) snapshot() plan.Funcs[SnapshotIn, SnapshotSet] {
	return plan.Funcs[SnapshotIn, SnapshotSet]{
		Observe: func(ctx context.Context, a plan.Attempt, in SnapshotIn) (plan.Observed[SnapshotSet], error) {
			there, err := w.snapshotsOf(ctx, a.Run, a.Token)
			if err != nil {
				return plan.Observed[SnapshotSet]{}, errorAction(err)
			}
			if len(there) == 0 {
				return plan.Observed[SnapshotSet]{State: plan.Absent}, nil
			}
			return plan.Observed[SnapshotSet]{State: plan.Ours, Out: in.set(a, there)}, nil
		},
		Do: func(ctx context.Context, a plan.Attempt, in SnapshotIn) (SnapshotSet, error) {
			win := w.windowOf(a)
			if win == nil || !win.frozen {
				return SnapshotSet{}, errors.New("internal error: a snapshot without a freeze")
			}
			made, err := w.take(ctx, a, in, win)
			if err != nil {
				return SnapshotSet{}, err
			}
			win.taken = true
			out := in.set(a, made)
			if len(out.Snapshots) < len(in.Members) {
				return out, fmt.Errorf("cannot snapshot %d volumes together: EC2 created %d snapshots; check that all volumes are still attached", len(in.Members), len(out.Snapshots))
			}
			return out, nil
		},
		Undo: w.deleteSnapshots,
		Preview: func(in SnapshotIn) plan.Preview {
			if len(in.Members) == 1 {
				return plan.PreviewOf(plan.PreviewCreate, "snapshot the volume of %s", in.Members[0].MountPoint)
			}
			return plan.PreviewOf(plan.PreviewCreate, "snapshot %d volumes with one call", len(in.Members))
		},
	}
}

// take makes the call, and gives up when the freeze ends: a snapshot taken later is of no use.
func (w *Env) take(ctx context.Context, a plan.Attempt, in SnapshotIn, win *window) ([]ec2.Snapshot, error) {
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-win.guard.Broken():
			cancel()
		case <-done:
		}
	}()
	tags := w.underKey(in.tags(a, w.Cloud.Now()))
	made, err := w.create(calling, in, win, tags)
	for ec2.ClassOf(err) == ec2.Throttled && time.Until(win.holdUntil) > createPause { // no hold: it is over
		time.Sleep(createPause/2 + rand.N(createPause/2)) // other hosts were refused at the same instant
		made, err = w.create(calling, in, win, tags)
	}
	if err != nil && calling.Err() != nil && ctx.Err() == nil {
		return nil, plan.Terminal("EC2 may be slow: try again later, or raise max_hold, the maximum freeze time",
			fmt.Errorf("the freeze ended before EC2 answered: %w", err))
	}
	if err = sectionErrorAction(err); err != nil && !win.holdUntil.IsZero() { // its instant does not come again
		err = plan.Terminal(plan.HintOf(err), err)
	}
	return made, err
}

// createPause is after what time at most the call is made again if EC2 refuses it for its rate. It is only where the freeze lasts to
// the end of a hold anyway.
const createPause = 200 * time.Millisecond

func (w *Env) create(ctx context.Context, in SnapshotIn, win *window, tags map[string]string) ([]ec2.Snapshot, error) {
	if len(in.Members) > 1 {
		return w.Cloud.CreateSnapshots(ctx, ec2.CreateSnapshotsRequest{InstanceID: w.Instance.ID, ExcludeBoot: true,
			ExcludeVolumes: win.exclude, Description: in.Description, Tags: tags})
	}
	made, err := w.Cloud.CreateSnapshot(ctx, ec2.CreateSnapshotRequest{VolumeID: in.Members[0].Found.Must().VolumeID, Description: in.Description, Tags: tags})
	return []ec2.Snapshot{made}, err
}

// set tells the snapshots of members from others: EC2 also takes those of volumes that were attached meanwhile.
func (in SnapshotIn) set(a plan.Attempt, made []ec2.Snapshot) SnapshotSet {
	out := SnapshotSet{Run: string(a.Run), Token: a.Token}
	for _, m := range in.Members {
		for _, s := range made {
			if s.VolumeID == m.Found.Must().VolumeID {
				out.Snapshots = append(out.Snapshots, Taken{SnapshotID: s.ID, VolumeID: s.VolumeID, MountPoint: m.MountPoint, Size: s.VolumeSize, Started: s.Started})
				break
			}
		}
	}
	for _, s := range made {
		if !slices.Contains(out.ids(), s.ID) {
			out.Unplanned = append(out.Unplanned, s.ID)
		}
	}
	return out
}

// tags are those that snapshots have from their creation on. What tells whose they are and when their data was so stands
// in tags that no volume has: those of volumes may be copied onto snapshots by anybody.
func (in SnapshotIn) tags(a plan.Attempt, now time.Time) map[string]string {
	tags := map[string]string{
		TagToken: a.Token, TagRun: string(a.Run), TagMembers: strconv.Itoa(len(in.Members)), TagState: Unverified,
		snapset.TagSet: snapset.SetID(string(a.Run), a.Token), snapset.TagDataTime: snapset.DataStamp(now),
		snapset.TagFilterKeys: snapset.JoinFilterKeys(in.FilterKeys),
	}
	if in.Part == nil {
		return tags
	}
	tags[TagLargerSet], tags[snapset.TagLargerMembers] = in.Part.Set, strconv.Itoa(in.Part.Members)
	if in.Part.Lock != "" {
		tags[snapset.TagLock] = in.Part.Lock
	}
	if len(in.Members) == 1 { // one call gives all snapshots the same tags
		tags[TagMountPoint] = in.Members[0].MountPoint
	}
	if in.ExpireAfter > 0 {
		tags[TagExpires] = stamp(now.Add(time.Duration(in.ExpireAfter)))
	}
	return merged(in.Tags, tags)
}

// snapshotsOf finds what an attempt made: by the set, and by the token where an older build made it.
func (w *Env) snapshotsOf(ctx context.Context, run plan.RunID, token string) ([]ec2.Snapshot, error) {
	there, err := w.Cloud.Snapshots(ctx, ec2.SnapshotQuery{Tags: map[string][]string{snapset.TagSet: {snapset.SetID(string(run), token)}}})
	if err != nil || len(there) > 0 {
		return there, err
	}
	return w.Cloud.Snapshots(ctx, ec2.SnapshotQuery{Tags: map[string][]string{TagToken: {token}}})
}

// deleteSnapshots undoes a snapshot that was not labelled. What the journal has as labelled is kept without a look: a
// describe may still show it as it was. While fewer are seen than there may be, it asks to look again.
func (w *Env) deleteSnapshots(ctx context.Context, a plan.Attempt, in SnapshotIn, out SnapshotSet) error {
	if a.Keep {
		return keptSnapshots(out.ids())
	}
	there, err := w.snapshotsOf(ctx, a.Run, a.Token)
	if err != nil {
		return errorAction(err)
	}
	var kept []string
	var denied error
	for _, s := range there {
		if snapset.Labelled(s) {
			kept = append(kept, s.ID)
			continue
		}
		if err := w.Cloud.DeleteSnapshot(ctx, s.ID); notFound(err) {
			denied = err
		} else if err != nil {
			return errorAction(err)
		}
	}
	if denied != nil { // a describe has just shown it: whoever asks looks again until it shows it no more
		return plan.Retry(time.Second, denied)
	}
	if len(kept) > 0 {
		return keptSnapshots(kept)
	}
	if len(there) < len(in.Members) {
		return plan.Retry(time.Second, fmt.Errorf("EC2 shows %d of the %d snapshots to delete; checking again", len(there), len(in.Members)))
	}
	return nil
}

func keptSnapshots(ids []string) error {
	return plan.Skip(fmt.Errorf("kept, because it is labelled %s and can be restored: %s", Consistent, strings.Join(ids, " ")))
}
