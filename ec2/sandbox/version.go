package sandbox

import "time"

// version is the history of a row. EC2's describes lag behind its changes, and a describe may return older data than
// the one before (https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html). With a lag, or a stale
// fault, a row keeps its earlier state, and a deleted row stays as a tombstone.
type version[T any] struct {
	In        string    `json:"in,omitempty"`        // the world: "" for the default one, ACCOUNT/REGION for others
	VisibleAt time.Time `json:"visible_at,omitzero"` // from when describes show it
	Deleted   bool      `json:"deleted,omitempty"`
	Before    *T        `json:"before,omitempty"` // what they show until then; nil: nothing
}

func (v *version[T]) history() *version[T] { return v }

// historyTTL is how long earlier states are kept.
const historyTTL = time.Minute

// row is a kind of row that has versions.
type row[T any] interface {
	*T
	history() *version[T]
	key() (created time.Time, id string)
}

// versionAt returns the version that a describe at now shows, or nil.
func versionAt[T any, P row[T]](r *T, now time.Time) *T {
	for r != nil && P(r).history().VisibleAt.After(now) {
		r = P(r).history().Before
	}
	if r == nil || P(r).history().Deleted {
		return nil
	}
	return r
}

// unlessDeleted returns r, or nil for one that is deleted.
func unlessDeleted[T any, P row[T]](r *T) *T {
	if r == nil || P(r).history().Deleted {
		return nil
	}
	return r
}

// keepVersions decides when describes see the transaction's changes.
func (t *tx) keepVersions() {
	behaviour := t.behaviour()
	lag, keep := behaviour.Latency.Lag, behaviour.keepsHistory() && !t.atOnce
	keepVersions(t.change.Volumes, t.rows.Volumes, t.began, lag, keep, t.atOnce)
	keepVersions(t.change.Snapshots, t.rows.Snapshots, t.began, lag, keep, t.atOnce)
	keepVersions(t.change.Instances, t.rows.Instances, t.began, lag, keep, t.atOnce)
	keepVersions(t.change.Images, t.rows.Images, t.began, lag, keep, t.atOnce)
}

func keepVersions[T any, P row[T]](changed, rows map[string]*T, now time.Time, lag time.Duration, keep, atOnce bool) {
	if !keep {
		for _, r := range changed {
			if r == nil {
				continue
			}
			if k := P(r).history(); atOnce || !k.VisibleAt.After(now) {
				*k = version[T]{In: k.In}
			}
		}
		return
	}
	if len(changed) == 0 {
		return
	}
	for id, old := range rows { // marks that nobody will see any more
		if k := P(old).history(); k.Deleted && now.Sub(k.VisibleAt) > historyTTL {
			if _, again := changed[id]; !again {
				changed[id] = nil
			}
		}
	}
	for id, r := range changed {
		old := rows[id]
		if r == nil && (old == nil || P(old).history().Deleted) {
			continue
		}
		if r == nil {
			mark := *old
			r = &mark
			P(r).history().Deleted = true
			changed[id] = r
		}
		k := P(r).history()
		k.VisibleAt, k.Before = now.Add(lag), old
		prune[T, P](old, now)
	}
}

// prune drops states that no describe returns any more.
func prune[T any, P row[T]](r *T, now time.Time) {
	for ; r != nil; r = P(r).history().Before {
		if k := P(r).history(); now.Sub(k.VisibleAt) > historyTTL {
			k.Before = nil
		}
	}
}
