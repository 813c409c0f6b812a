package snapset

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// A Policy is what a snapshotter keeps of its sets. Their TagExpires does not matter then.
type Policy struct {
	Filter map[string]string `json:"filter_tags"` // of the snapshotter
	Keep   Keep              `json:"keep"`
	// Larger has it decide on the parts of larger sets, too, whose hosts have these filter tags and more: once, for all hosts.
	Larger bool `json:"larger,omitempty"`
}

// policyOf is the policy that a snapshot comes under: that of the snapshotter with exactly its filter tags. ok is false where
// there is none, or where it is not clear which.
func (inv Inventory) policyOf(g Groups, s ec2.Snapshot) (at int, ok bool) {
	at = -1
	keys, known := RecordedKeys(s.Tags)
	if !known {
		keys, known = g.byVolume[onVolume(s)]
	}
	most, tie := -1, false
	for i, p := range inv.Policies {
		if !HasTags(s.Tags, p.Filter) || known && len(only(s.Tags, keys)) != len(p.Filter) && !p.isPart(s, keys) {
			continue // of another snapshotter, whose snapshots have more filter tags
		}
		if n := len(p.Filter); n >= most {
			at, most, tie = i, n, n == most
		}
	}
	return at, at >= 0 && !tie
}

// sets decides on the snapshots that come under a policy, set by set, and says which those are.
func (inv Inventory) sets(k keeping) (decisions []Decision, judged map[string]bool) {
	judged = map[string]bool{}
	type judgedTogether struct {
		policy    int
		snapshots []ec2.Snapshot
	}
	var of []judgedTogether
	at := map[string]int{}
	for _, s := range inv.Snapshots {
		if !inv.isOurs(s.Tags) || s.Tags[TagMountPoint] == "" || !OriginOf(s).Restorable() {
			continue
		}
		i, ok := inv.policyOf(k.groups, s)
		if !ok {
			continue
		}
		together := strconv.Itoa(i) + inv.Policies[i].host(k.groups, s)
		n, known := at[together]
		if !known {
			n = len(of)
			at[together], of = n, append(of, judgedTogether{policy: i})
		}
		of[n].snapshots = append(of[n].snapshots, s)
	}
	for _, some := range of {
		p := inv.Policies[some.policy]
		j := judgement{inv: inv, k: k, policy: p, byID: map[string]ec2.Snapshot{}, sets: setsOf(IndexOf(some.snapshots).rows)}
		for _, s := range some.snapshots {
			j.byID[s.ID] = s
		}
		j.reasons, j.err = p.Keep.judge(j.sets, inv.Now)
		j.verified = newestVerified(j.sets)
		for _, one := range j.sets {
			if one.ours() == 0 {
				continue // copies, or made by hand: each is judged by itself, and stays
			}
			for _, r := range one.rows() {
				judged[r.ID] = true
			}
			decisions = append(decisions, j.decide(one))
		}
	}
	return whole(decisions), judged
}

// Judge says of each set which rules keep it; none of one that may go. Sets are in the order of their data, newest first.
//
// A set is judged among those that could be restored instead: they have all of its mount points, and are no less
// whole than it is. So a set that lost a member, or that is in the archive, never takes the place of a whole one, and nor
// does one of fewer mount points. Sets that are not ours to delete do not count at all.
func (k Keep) judge(sets []*Set, now time.Time) (map[*Set][]Reason, error) {
	zone, err := k.Location()
	if err != nil {
		return nil, err
	}
	type class struct {
		wholeness int
		points    string
	}
	counted := slices.DeleteFunc(slices.Clone(sets), func(s *Set) bool { return s.ours() < len(s.rows()) })
	of, first := map[*Set]class{}, map[class]*Set{}
	for _, s := range counted {
		c := class{s.wholeness(), strings.Join(s.points(), "\x00")}
		of[s], first[c] = c, s
	}
	kept := map[*Set][]Reason{}
	for c, one := range first {
		needed := one.points()
		var among []*Set
		var times []time.Time
		for _, s := range counted {
			if of[s].wholeness <= c.wholeness && s.has(needed) {
				among, times = append(among, s), append(times, s.data.time())
			}
		}
		for i, reasons := range k.Reasons(times, zone, now) {
			if of[among[i]] == c {
				kept[among[i]] = reasons
			}
		}
	}
	return kept, nil
}

// rows are all snapshots of the set.
func (s *Set) rows() (all []*Row) {
	for _, m := range s.Members {
		all = append(all, m.Snapshots...)
	}
	return all
}

// ours counts those that Snaptastic may delete.
func (s *Set) ours() (n int) {
	for _, r := range s.rows() {
		if r.Ours {
			n++
		}
	}
	return n
}

// points are the mount points, in order.
func (s *Set) points() []string {
	points := make([]string, len(s.Members))
	for i, m := range s.Members {
		points[i] = m.MountPoint
	}
	return points
}

// has reports whether the set has all of these.
func (s *Set) has(points []string) bool {
	return !slices.ContainsFunc(points, func(p string) bool { return s.Of(p) == nil })
}

// wholeness is 0 for a set that can be restored, or will be without an operator; 1 for one that has to be restored
// from the archive first; 2 for one that has lost a member.
func (s *Set) wholeness() int {
	switch {
	case s.Complete(func(r *Row) bool {
		return r.dormant() == "" && (r.State == ebs.SnapshotCompleted || r.State == ebs.SnapshotPending)
	}):
		return 0
	case s.Complete(func(r *Row) bool { return r.State != ebs.SnapshotError }):
		return 1
	}
	return 2
}

// newestVerified are the sets that a drill found good, and of which no newer such set has all mount points.
func newestVerified(sets []*Set) map[*Set]bool {
	newest := map[*Set]bool{}
	for _, s := range sets {
		if s.Drill().State().Good() && s.wholeness() < 2 && !slices.ContainsFunc(sets, func(o *Set) bool { return newest[o] && o.has(s.points()) }) {
			newest[s] = true
		}
	}
	return newest
}

// judgement is that of one policy.
type judgement struct {
	inv      Inventory
	k        keeping
	policy   Policy
	byID     map[string]ec2.Snapshot
	sets     []*Set // newest first
	reasons  map[*Set][]Reason
	verified map[*Set]bool
	err      error // the rules cannot be applied
}

func (j judgement) decide(one *Set) Decision {
	d := Decision{Resource: SetResource, ID: one.id(), MountPoint: strings.Join(one.points(), " "), FilterTags: j.policy.Filter, Created: one.data.time(), KeptBy: j.reasons[one]}
	for _, r := range one.rows() {
		d.Snapshots, d.Dependents = append(d.Snapshots, r.ID), append(d.Dependents, TagDigest(j.byID[r.ID].Tags))
		d.Size += r.Size
		d.FullSize += r.FullSize
		if r.FullSize == 0 {
			d.Unsized++
		}
	}
	if j.policy.Larger {
		d.larger = one.Members[0].Best().LargerSet
	}
	switch {
	case j.err != nil:
		d.keepDue("%v", j.err)
	case one.ours() < len(d.Snapshots):
		d.keep("with copies", "it has copies, or snapshots made by hand: these are never deleted")
	case len(d.KeptBy) > 0:
		d.keep("kept by the rules of keep", "%s", reasonsText(d.KeptBy))
	default:
		j.floor(&d, one)
	}
	return d
}

func reasonsText(reasons []Reason) string {
	words := make([]string, len(reasons))
	for i, r := range reasons {
		words[i] = r.String()
	}
	return strings.Join(words, ", ")
}

// floor keeps what no rule keeps, and what must not go all the same.
func (j judgement) floor(d *Decision, one *Set) {
	const due = "no rule keeps it"
	for _, r := range one.rows() {
		switch {
		case j.k.held[r.ID] != "":
			d.keepDue(due+", but %s", j.k.held[r.ID])
			return
		case r.State == ebs.SnapshotPending:
			d.keepDue(due + ", but it is not completed yet")
			return
		case r.State != ebs.SnapshotCompleted && r.State != ebs.SnapshotError:
			d.keepDue(due+", but %s of it is %s", r.ID, r.State)
			return
		}
	}
	if j.verified[one] {
		d.keepDue(due + ", but it is the newest set that a drill found good")
		return
	}
	for _, r := range one.rows() {
		kept := j.k.all[j.k.groups.Point(j.byID[r.ID])]
		switch {
		case kept == nil || len(kept.Instead) == 0:
			d.keepDue(due+", but no other snapshot of %s can be restored", r.MountPoint)
			return
		case kept.Guarded[r.ID]:
			d.keepDue(due+", but it is the newest restorable set of %s", r.MountPoint)
			return
		}
		for _, id := range kept.Instead {
			if !slices.Contains(d.ReplacedBy, id) {
				d.ReplacedBy = append(d.ReplacedBy, id)
			}
		}
	}
	d.Delete, d.Why = true, due
	if why := one.lost(); why != "" {
		d.Why += "; " + why
	}
}

// id identifies the set: its tag, or what that would be, or its snapshot where it is of no run.
func (s *Set) id() string {
	ids := make([]string, 0, len(s.Members))
	for _, r := range s.rows() {
		if tag := r.SetTag(); tag != "" {
			return tag
		}
		if older, is := strings.CutPrefix(r.SetID, runPrefix); is {
			return strings.Replace(older, " ", "/", 1)
		}
		ids = append(ids, r.ID)
	}
	return slices.Min(ids)
}

// copiedFrom is how the console and the API describe a copy, where nobody says otherwise.
var copiedFrom = regexp.MustCompile(`snap-[0-9a-f]+`)

// beingCopied are the snapshots that a copy is made of at this moment, and which copy. Of copies in other regions nothing
// shows here.
func (inv Inventory) beingCopied() map[string]string {
	sources := map[string]string{}
	type member struct{ set, point string }
	unnamed := map[member]string{}
	for _, c := range inv.Pending {
		if !IsCopy(c) || c.State != ebs.SnapshotPending {
			continue
		}
		why := "it is being copied to " + c.ID
		for _, id := range copiedFrom.FindAllString(c.Description, -1) {
			sources[id] = why
		}
		if id := IDOf(c); id != "" {
			unnamed[member{id, path.Clean(c.Tags[TagMountPoint])}] = why
		}
	}
	for _, s := range inv.Snapshots {
		if why := unnamed[member{IDOf(s), path.Clean(s.Tags[TagMountPoint])}]; why != "" && !IsCopy(s) {
			sources[s.ID] = cmp.Or(sources[s.ID], why)
		}
	}
	return sources
}

// A Holding is how much some sets hold.
type Holding struct {
	Sets      int   `json:"sets"`
	Snapshots int   `json:"snapshots"`
	Volumes   int64 `json:"volume_size_gib"` // of the volumes that they were taken of
	FullSize  int64 `json:"full_size_bytes"` // of all their blocks, as EC2 says; not what is billed, since sets share blocks
	Unsized   int   `json:"snapshots_without_full_size,omitempty"`
}

// KeptOf is how much the sets hold that are not deleted.
func KeptOf(decisions []Decision) (h Holding) {
	for _, d := range decisions {
		if d.Resource == SetResource && !d.Delete {
			h.Sets++
			h.Snapshots += len(d.Snapshots)
			h.Volumes += int64(d.Size)
			h.FullSize += d.FullSize
			h.Unsized += d.Unsized
		}
	}
	return h
}

func (h *Holding) add(s *Set) {
	h.Sets++
	for _, r := range s.rows() {
		h.Snapshots++
		h.Volumes += int64(r.Size)
		h.FullSize += r.FullSize
		if r.FullSize == 0 {
			h.Unsized++
		}
	}
}
