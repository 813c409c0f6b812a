package sandbox

import "time"

// version is what describes know of a row. EC2's describes lag behind its
// changes, and two of them may be answered by hosts that lag differently: an
// older view after a newer one
// (https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html).
// So while there is a lag, or a fault that lets describes go back, a row
// carries what it was before, and a deleted one stays as a mark of that.
type version[T any] struct {
	VisibleAt time.Time `json:"visible_at,omitzero"` // from when describes show it
	Deleted   bool      `json:"deleted,omitempty"`
	Before    *T        `json:"before,omitempty"` // what they show until then; nil: nothing
}

func (v *version[T]) knowledge() *version[T] { return v }

// remembered is how long what a row was is kept.
const remembered = time.Minute

// row is a kind of row that has versions.
type row[T any] interface {
	*T
	knowledge() *version[T]
}

// shownAt returns the version that a describe at now shows, or nil.
func shownAt[T any, P row[T]](r *T, now time.Time) *T {
	for r != nil && P(r).knowledge().VisibleAt.After(now) {
		r = P(r).knowledge().Before
	}
	if r == nil || P(r).knowledge().Deleted {
		return nil
	}
	return r
}

// there returns r, or nil for one that is deleted.
func there[T any, P row[T]](r *T) *T {
	if r == nil || P(r).knowledge().Deleted {
		return nil
	}
	return r
}

// keepVersions lets describes see the transaction's changes when they are to.
func (t *tx) keepVersions() {
	behaviour := t.w.faults.current
	lag, keep := behaviour.Latency.Lag, behaviour.remembers() && !t.atOnce
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
			if k := P(r).knowledge(); atOnce || !k.VisibleAt.After(now) {
				*k = version[T]{}
			}
		}
		return
	}
	if len(changed) == 0 {
		return
	}
	for id, old := range rows { // marks that nobody will see any more
		if k := P(old).knowledge(); k.Deleted && now.Sub(k.VisibleAt) > remembered {
			if _, again := changed[id]; !again {
				changed[id] = nil
			}
		}
	}
	for id, r := range changed {
		old := rows[id]
		if r == nil && (old == nil || P(old).knowledge().Deleted) {
			continue
		}
		if r == nil {
			mark := *old
			r = &mark
			P(r).knowledge().Deleted = true
			changed[id] = r
		}
		k := P(r).knowledge()
		k.VisibleAt, k.Before = now.Add(lag), old
		forget[T, P](old, now)
	}
}

// forget drops what was before a version that every describe has shown for long.
func forget[T any, P row[T]](r *T, now time.Time) {
	for ; r != nil; r = P(r).knowledge().Before {
		if k := P(r).knowledge(); now.Sub(k.VisibleAt) > remembered {
			k.Before = nil
		}
	}
}
