package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// What snapset decides, under the names that the steps' inputs and outputs have.
type (
	Choice  = snapset.Choice
	Choices = snapset.Choices
)

// FindSnapshot chooses, in one look for all lanes, what each volume is made from.
var FindSnapshot = plan.Def[FindSnapshotIn, Choices]{Kind: "find-snapshot", Scope: plan.Cloud, ReadOnly: true}

// FindSnapshotIn says for which mount points; those whose volume was found are left out.
type FindSnapshotIn struct {
	Lanes  []SnapshotLane `json:"lanes"`
	Search Search         `json:"search"`
}

// Search says which snapshots there are to choose from, and how.
type Search struct {
	FilterTags map[string]string `json:"filter_tags"`
	Group      bool              `json:"group"`
	AllowOlder bool              `json:"allow_older,omitempty"`
	MixSets    bool              `json:"mix_sets,omitempty"`
	MayCreate  bool              `json:"may_create"`

	// What an operator asked for: a set by its name, one snapshot by its id, or the newest whose data is not newer than a time.
	Set      string    `json:"set,omitempty"`
	Snapshot string    `json:"snapshot,omitempty"`
	Before   time.Time `json:"before,omitzero"`
	Verified bool      `json:"verified,omitempty"` // only what a drill has verified
	Drill    bool      `json:"drill,omitempty"`    // a broken set is not passed over
	Existing bool      `json:"existing,omitempty"` // no volume begins empty
	Name     string    `json:"name,omitempty"`     // of the snapshotter
}

// explicit says that an operator asked for other snapshots than the newest. Volumes that are attached are then held against that.
func (s Search) explicit() bool { return s.Set != "" || s.Snapshot != "" || !s.Before.IsZero() }

// SnapshotLane is one mount point. Of a lane whose look failed no volume is known: it is chosen for all the same, since
// a resume looks again and goes on with what was chosen for the others.
type SnapshotLane struct {
	MountPoint string                  `json:"mount_point"`
	Found      plan.Value[FoundVolume] `json:"found"`
}

// choiceFacts and choicesFacts are what was chosen, and why.
func choiceFacts(c Choice) plan.Facts {
	return plan.Facts{MountPoint: c.MountPoint, SnapshotID: c.SnapshotID, SizeGiB: c.Size, Remarks: remark(c.Reason), Warnings: c.Warnings}
}

func choicesFacts(all Choices) (facts plan.Facts) {
	for _, c := range all {
		facts.Each = append(facts.Each, choiceFacts(c))
	}
	return facts
}

func (w *Env) findSnapshot() plan.Funcs[FindSnapshotIn, Choices] {
	return plan.Funcs[FindSnapshotIn, Choices]{
		Facts: choicesFacts,
		Do: func(ctx context.Context, _ plan.Attempt, in FindSnapshotIn) (Choices, error) {
			var wished, unsure []string
			attached := map[string]snapset.Attached{}
			for _, lane := range in.Lanes {
				switch found, known := lane.Found.Get(); {
				case !known:
					unsure = append(unsure, lane.MountPoint)
				case !found.Found:
					wished = append(wished, lane.MountPoint)
				case in.Search.explicit():
					wished = append(wished, lane.MountPoint)
					attached[lane.MountPoint] = snapset.Attached{VolumeID: found.VolumeID, SnapshotID: found.SnapshotID}
				}
			}
			if len(wished)+len(unsure) == 0 {
				return Choices{}, nil
			}
			snapshots, err := w.candidates(ctx, in.Search)
			if err != nil {
				return nil, err
			}
			if err := w.checkCaughtUp(snapshots); err != nil {
				return nil, err
			}
			chosen := chooseWithUncertain(in.Search.request(wished, attached), unsure, snapshots)
			if b := Choices(chosen).Broken(); b != nil && !w.PreviewOnly && time.Since(b.Begun) < youngSet && !w.waitedForLag() {
				return nil, plan.Retry(500*time.Millisecond, fmt.Errorf("EC2 does not show all snapshots of %s: %s", b.Set, b.Reason))
			}
			w.explainNoSuch(ctx, in.Search, chosen)
			if none := func(c Choice) bool { return !c.NoSuch }; len(chosen) > 0 && !slices.ContainsFunc(chosen, none) { // said once, and not for each volume
				return nil, plan.Terminal(chosen[0].Hint, errors.New(chosen[0].Problem))
			}
			return w.warnOfNearMisses(ctx, in, snapshots, chosen), nil
		},
	}
}

// maxLag is how long EC2 may go without showing a label that this machine has given. After that its snapshot was deleted.
const maxLag = 15 * time.Second

// youngSet is the age below which a set may only look as if it lacked a member, on a machine that did not take it.
const youngSet = 10 * time.Minute

// checkCaughtUp asks to look again while what EC2 shows is older than what this machine labelled a moment ago: the set before it
// would be restored, and what was written in between be lost.
func (w *Env) checkCaughtUp(snapshots *snapset.Index) error {
	if w.PreviewOnly || w.RecentlyLabelled == nil {
		return nil
	}
	missing := snapshots.Unlabelled(w.RecentlyLabelled())
	if len(missing) == 0 {
		return nil
	}
	if w.waitedForLag() {
		return nil
	}
	return plan.Retry(500*time.Millisecond, fmt.Errorf("EC2 does not show the new label of %s yet", missing[0]))
}

// waitedForLag says that EC2 was given its time to catch up, counted from the first call.
func (w *Env) waitedForLag() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.behindSince.IsZero() {
		w.behindSince = time.Now()
	}
	return time.Since(w.behindSince) >= cmp.Or(w.MaxLag, maxLag)
}

func (s Search) request(mountPoints []string, attached map[string]snapset.Attached) snapset.Request {
	return snapset.Request{MountPoints: mountPoints, Group: s.Group, AllowOlder: s.AllowOlder, MixSets: s.MixSets, MayCreate: s.MayCreate,
		Set: s.Set, Snapshot: s.Snapshot, Before: s.Before, Verified: s.Verified, Drill: s.Drill, Existing: s.Existing, Name: s.Name, Attached: attached}
}

// explainNoSuch says of a set or snapshot that is not among those with the filter tags whose it is, if EC2 knows it. That it
// cannot be found out changes nothing.
func (w *Env) explainNoSuch(ctx context.Context, s Search, chosen Choices) {
	if !slices.ContainsFunc(chosen, func(c Choice) bool { return c.NoSuch }) {
		return
	}
	name := cmp.Or(s.Snapshot, s.Set)
	var other *ec2.Snapshot
	visit := func(found ec2.Snapshot) { other = &found }
	var err error
	if strings.HasPrefix(name, "snap-") {
		var all map[string]ec2.Snapshot
		all, err = w.Cloud.SnapshotsByID(ctx, name)
		for _, found := range all {
			visit(found)
		}
	} else {
		err = w.Cloud.EachSnapshot(ctx, ec2.SnapshotQuery{Tags: map[string][]string{snapset.TagSet: {ec2.Literal(name) + "*"}}}, visit)
	}
	if err != nil || other == nil {
		return
	}
	for i := range chosen {
		if c := &chosen[i]; c.NoSuch {
			c.Problem = fmt.Sprintf("%q is not a set of this snapshotter: on %s, %s", name, other.ID, Mismatch(other.Tags, s.FilterTags, cmp.Or(other.Tags[TagMountPoint], c.MountPoint)))
			c.Hint = "name a set of this snapshotter; `snaptastic snapshots " + cmp.Or(s.Name, "NAME") + "` lists them"
		}
	}
}

// candidates are all snapshots with the filter tags, of one describe, which lanes that ask together share.
func (w *Env) candidates(ctx context.Context, s Search) (*snapset.Index, error) {
	tags, err := json.Marshal(s.FilterTags) // in the order of its keys
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	w.mu.Lock()
	if w.indexes == nil {
		w.indexes = ec2.NewShared(w.indexOf)
	}
	ahead := w.Ahead
	w.Ahead = nil // whoever looks again wants to know what is now
	w.mu.Unlock()
	if ahead != nil && ahead.filterTags == string(tags) && time.Since(ahead.found) < maxAhead {
		return ahead.snapshots, nil
	}
	snapshots, err := w.indexes.Ask(ctx, "find snapshots", string(tags))
	return snapshots, errorAction(err)
}

// An Ahead is what EC2 showed of a role's snapshots a moment before the run that will choose from them.
type Ahead struct {
	filterTags string // as JSON
	snapshots  *snapset.Index
	found      time.Time
}

// maxAhead is how old it may be when it is chosen from: no older than volumes that are served from the cache.
const maxAhead = time.Second

// LookAhead describes the snapshots with the filter tags. It returns nil where that failed: the run looks itself, and says why.
func LookAhead(ctx context.Context, cloud Cloud, filterTags map[string]string) *Ahead {
	tags, err := json.Marshal(filterTags)
	if err != nil {
		return nil
	}
	snapshots, err := (&Env{Cloud: cloud}).indexOf(ctx, string(tags))
	if err != nil {
		return nil
	}
	return &Ahead{filterTags: string(tags), snapshots: snapshots, found: time.Now()}
}

func (w *Env) indexOf(ctx context.Context, filterTags string) (*snapset.Index, error) {
	var tags map[string]string
	if err := json.Unmarshal([]byte(filterTags), &tags); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	query := ec2.SnapshotQuery{Tags: map[string][]string{}}
	for key, value := range tags {
		query.Tags[key] = []string{ec2.Literal(value)}
	}
	index := snapset.NewIndex()
	return index, w.Cloud.EachSnapshot(ctx, query, index.Add)
}

// chooseWithUncertain chooses for the wished mount points, and for the unsure ones as far as that changes nothing for those:
// they may never need it, and two sets are never mixed.
func chooseWithUncertain(wish snapset.Request, unsure []string, snapshots *snapset.Index) []Choice {
	both := wish
	both.MountPoints = slices.Concat(wish.MountPoints, unsure)
	all := snapshots.Choose(both)
	if len(wish.MountPoints) == 0 || len(unsure) == 0 {
		return all
	}
	chosen := snapshots.Choose(wish)
	if slices.EqualFunc(chosen, all[:len(chosen)], func(a, b Choice) bool { return a.SnapshotID == b.SnapshotID }) {
		return all
	}
	for _, mountPoint := range unsure {
		chosen = append(chosen, Choice{MountPoint: mountPoint, Problem: "the other volumes are restored from a set that does not contain it",
			Hint: "abandon the run with `snaptastic abandon`; " + snapset.MixHint})
	}
	return chosen
}

// warnOfNearMisses looks, where a mount point has no snapshot at all, for those that were perhaps meant: with one call for all
// such mount points. That it cannot look is no reason not to go on.
func (w *Env) warnOfNearMisses(ctx context.Context, in FindSnapshotIn, snapshots *snapset.Index, chosen Choices) Choices {
	unknown := snapset.Unknowns(chosen)
	if len(unknown) == 0 {
		return chosen
	}
	var declared []string
	for _, lane := range in.Lanes {
		declared = append(declared, lane.MountPoint)
	}
	misses := snapset.NearMissesOf(chosen, in.Search.FilterTags, declared, snapshots)
	if err := w.Cloud.EachSnapshot(ctx, MissQuery(unknown), misses.Add); err != nil {
		w.log().Warn("cannot search for snapshots that differ in one tag", "mount_points", strings.Join(unknown, " "), "error", err)
	}
	misses.Warn()
	if !w.PreviewOnly { // a plan shows them itself
		for _, warning := range chosen.Warnings() {
			w.log().Warn(warning)
		}
	}
	return chosen
}

// MissQuery asks for the snapshots of mount points, whoever's they are.
func MissQuery(mountPoints []string) ec2.SnapshotQuery {
	var values []string
	for _, mp := range mountPoints {
		values = append(values, ec2.Literal(mp))
		if !strings.HasSuffix(mp, "/") {
			values = append(values, ec2.Literal(mp)+"/") // as the original wrote what had a slash at the end
		}
	}
	return ec2.SnapshotQuery{Tags: map[string][]string{TagMountPoint: values}}
}
