package sandbox

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"time"
)

// tx is a transaction: it reads the state with its own changes applied. Records that it returns are shared: change
// only what an edit method returned.
type tx struct {
	w       *Sandbox
	here    World
	in      string    // here's key
	now     time.Time // as a describe that goes back sees it, before the real one
	began   time.Time // the real one
	rows    *change   // committed
	change  change    // ours
	onAbort []func()
	after   []func() error // effects that need the record to be there first
	atOnce  bool           // describes show the changes without a lag
}

// edit is transact outside the API: describes show the changes at once.
func (w *Sandbox) edit(fn func(*tx) error) error {
	return w.transact(func(t *tx) error {
		t.atOnce = true
		return fn(t)
	})
}

// transact is transactIn for the sandbox's own world.
func (w *Sandbox) transact(fn func(*tx) error) error { return w.transactIn(w.here, fn) }

// transactIn runs fn under the locks and commits its changes. If fn returns an error, nothing changes. A world begins
// with the first request for it.
func (w *Sandbox) transactIn(in World, fn func(*tx) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	unlock, err := lockDir(w.root, 0)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := w.store.catchUp(); err != nil {
		return err
	}
	if w.store.rows.Settings == nil {
		return errReset
	}
	if w.store.rows.settingsOf(in.key()) == nil {
		next := newChange()
		next.found(in, w.store.rows.Settings.FilesOnly, time.Now())
		if err := errors.Join(makeRoots(w.rootsOf(in.key())), w.store.commit(&next)); err != nil {
			return err
		}
	}
	if err := w.settle(); err != nil {
		return err
	}
	return w.apply(in, fn)
}

// apply is transact for a caller that holds the locks.
func (w *Sandbox) apply(in World, fn func(*tx) error) error {
	now := time.Now()
	t := &tx{w: w, here: in, in: in.key(), now: now, began: now, rows: &w.store.rows, change: newChange()}
	err := fn(t)
	if err == nil && !t.change.empty() {
		t.keepVersions()
		err = w.store.commit(&t.change)
	}
	if err != nil {
		for _, undo := range slices.Backward(t.onAbort) {
			undo()
		}
		return err
	}
	var failed []error
	for _, effect := range t.after {
		failed = append(failed, effect())
	}
	return errors.Join(failed...)
}

// settings are those of the machine that this process stands for, or of another world's own.
func (t *tx) settings() settings {
	if t.in == t.w.here.key() {
		return *t.rows.factsOf(t.in, t.w.machine)
	}
	return *t.rows.settingsOf(t.in)
}

func (t *tx) behaviour() *behaviour { return t.w.behaviour(t.in) }

// own is a row of the transaction's world, or nil.
func own[T any, P row[T]](t *tx, r *T) *T {
	if r == nil || P(r).history().In != t.in {
		return nil
	}
	return r
}

// ownOf yields the rows of the transaction's world.
func ownOf[T any, P row[T]](t *tx, every iter.Seq[*T]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for r := range every {
			if P(r).history().In == t.in && !yield(r) {
				return
			}
		}
	}
}

func lookUp[T any](changed, rows map[string]*T, id string) *T {
	if row, ok := changed[id]; ok {
		return row
	}
	return rows[id]
}

// all yields the rows with the transaction's changes applied, oldest first.
func all[T any, P row[T]](changed, rows map[string]*T) iter.Seq[*T] {
	merged := maps.Clone(rows)
	for id, row := range changed {
		if row == nil {
			delete(merged, id)
		} else {
			merged[id] = row
		}
	}
	return slices.Values(slices.SortedFunc(maps.Values(merged), oldestFirst[T, P]))
}

// existing yields the rows that were not deleted.
func existing[T any, P row[T]](every iter.Seq[*T]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for r := range every {
			if unlessDeleted[T, P](r) != nil && !yield(r) {
				return
			}
		}
	}
}

// editable returns the transaction's own copy of a row.
func editable[T any, P interface {
	*T
	clone() *T
}](changed, rows map[string]*T, id string) *T {
	if row, ok := changed[id]; ok {
		return row
	}
	changed[id] = P(rows[id]).clone()
	return changed[id]
}

// volume returns nil for one that does not exist or that EC2 dropped.
func (t *tx) volume(id string) *Volume {
	v := own(t, unlessDeleted(lookUp(t.change.Volumes, t.rows.Volumes, id)))
	if v == nil || v.gone(t.now) {
		return nil
	}
	return v
}

func (t *tx) volumes() iter.Seq[*Volume] {
	return func(yield func(*Volume) bool) {
		for v := range t.volumesAfter(time.Time{}, "") {
			if !v.Deleted && !v.gone(t.now) && !yield(v) {
				return
			}
		}
	}
}

// volumesAfter yields the rows after a position, including tombstones of deleted ones.
func (t *tx) volumesAfter(created time.Time, id string) iter.Seq[*Volume] {
	return ownOf(t, rowsAfter(t.change.Volumes, t.rows.Volumes, &t.w.store.volumes, created, id))
}

func (t *tx) snapshot(id string) *Snapshot {
	return t.seen(unlessDeleted(lookUp(t.change.Snapshots, t.rows.Snapshots, id)))
}

// snapshotsAfter yields the rows after a position, including tombstones of deleted ones.
func (t *tx) snapshotsAfter(started time.Time, id string) iter.Seq[*Snapshot] {
	every := rowsAfter(t.change.Snapshots, t.rows.Snapshots, &t.w.store.snapshots, started, id)
	return func(yield func(*Snapshot) bool) {
		for s := range every {
			if s = t.seen(s); s != nil && !yield(s) {
				return
			}
		}
	}
}

func (t *tx) instance(id string) *Instance {
	return own(t, lookUp(t.change.Instances, t.rows.Instances, id))
}

func (t *tx) image(id string) *Image {
	return own(t, unlessDeleted(lookUp(t.change.Images, t.rows.Images, id)))
}

func (t *tx) editVolume(id string) *Volume { return editable(t.change.Volumes, t.rows.Volumes, id) }

func (t *tx) editSnapshot(id string) *Snapshot {
	return editable(t.change.Snapshots, t.rows.Snapshots, id)
}

func (t *tx) editInstance(id string) *Instance {
	return editable(t.change.Instances, t.rows.Instances, id)
}

func (t *tx) editImage(id string) *Image { return editable(t.change.Images, t.rows.Images, id) }

func (t *tx) snapshots() iter.Seq[*Snapshot] { return existing(t.snapshotsAfter(time.Time{}, "")) }
func (t *tx) instances() iter.Seq[*Instance] {
	return ownOf(t, all(t.change.Instances, t.rows.Instances))
}
func (t *tx) images() iter.Seq[*Image] { return existing(t.everyImage()) }

// everyImage is images including tombstones of deregistered ones.
func (t *tx) everyImage() iter.Seq[*Image] { return ownOf(t, all(t.change.Images, t.rows.Images)) }

// An absence is what EC2 says about an id that is malformed, and about one that does not exist.
type absence struct{ malformed, malformedText, notFound, notFoundText string }

var absences = map[string]absence{
	"vol":  {"InvalidVolumeID.Malformed", "The specified volume ID '%s' is not valid. Expected: 'vol-...'", "InvalidVolume.NotFound", "The volume '%s' does not exist."},
	"snap": {"InvalidSnapshotID.Malformed", "The snapshot ID '%s' is not valid. Expected: 'snap-...'", "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist."},
	"ami":  {"InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", "InvalidAMIID.NotFound", "The image id '[%s]' does not exist"},
	"i":    {"InvalidInstanceID.Malformed", "Invalid id: \"%s\"", "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist"},
}

// need returns the row of the id, or EC2's refusal where there is none.
func need[T any](prefix, id string, row *T) (*T, error) {
	said := absences[prefix]
	switch {
	case !wellFormed(id, prefix):
		return nil, refuse(said.malformed, said.malformedText, id)
	case row == nil:
		return nil, refuse(said.notFound, said.notFoundText, id)
	}
	return row, nil
}

func (t *tx) needVolume(id string) (*Volume, error)     { return need("vol", id, t.volume(id)) }
func (t *tx) needSnapshot(id string) (*Snapshot, error) { return need("snap", id, t.snapshot(id)) }
func (t *tx) needImage(id string) (*Image, error)       { return need("ami", id, t.image(id)) }
func (t *tx) needInstance(id string) (*Instance, error) { return need("i", id, t.instance(id)) }

// visible is the row of an id for describes, which lag behind changes; nil where they do not show it.
func visible[T any, P interface {
	*T
	shown(time.Time) (*T, bool)
}](t *tx, row *T) *T {
	if row == nil {
		return nil
	}
	if _, ok := P(row).shown(t.now); !ok {
		return nil
	}
	return row
}

func (t *tx) findVolume(id string) (*Volume, error) {
	return need("vol", id, visible(t, own(t, lookUp(t.change.Volumes, t.rows.Volumes, id))))
}

func (t *tx) findSnapshot(id string) (*Snapshot, error) {
	return need("snap", id, visible(t, t.seen(lookUp(t.change.Snapshots, t.rows.Snapshots, id))))
}
