package sandbox

import (
	"errors"
	"iter"
	"slices"
	"time"
)

// tx is a transaction: it reads the state with its own changes applied. Records that it returns are shared: change
// only what an edit method returned.
type tx struct {
	w       *Sandbox
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

// transact runs fn under the locks and commits its changes. If fn returns an error, nothing changes.
func (w *Sandbox) transact(fn func(*tx) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	unlock, err := lockDir(w.dir, 0)
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
	if err := w.settle(); err != nil {
		return err
	}
	return w.apply(fn)
}

// apply is transact for a caller that holds the locks.
func (w *Sandbox) apply(fn func(*tx) error) error {
	now := time.Now()
	t := &tx{w: w, now: now, began: now, rows: &w.store.rows, change: newChange()}
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

func (t *tx) settings() settings { return *t.rows.Settings }

func lookUp[T any](changed, rows map[string]*T, id string) *T {
	if row, ok := changed[id]; ok {
		return row
	}
	return rows[id]
}

// all yields the rows with the transaction's changes applied, oldest first.
func all[T any](changed, rows map[string]*T, order func(a, b *T) int) iter.Seq[*T] {
	seen := make([]*T, 0, len(rows)+len(changed))
	for id, row := range rows {
		if _, ok := changed[id]; !ok {
			seen = append(seen, row)
		}
	}
	for _, row := range changed {
		if row != nil {
			seen = append(seen, row)
		}
	}
	slices.SortFunc(seen, order)
	return slices.Values(seen)
}

// volume returns nil for one that does not exist or that EC2 dropped.
func (t *tx) volume(id string) *Volume {
	v := unlessDeleted(lookUp(t.change.Volumes, t.rows.Volumes, id))
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
	return rowsAfter(t.change.Volumes, t.rows.Volumes, &t.w.store.volumes, created, id)
}

func (t *tx) editVolume(id string) *Volume {
	if v, ok := t.change.Volumes[id]; ok {
		return v
	}
	v := t.rows.Volumes[id].clone()
	t.change.Volumes[id] = v
	return v
}

func (t *tx) snapshot(id string) *Snapshot {
	return unlessDeleted(lookUp(t.change.Snapshots, t.rows.Snapshots, id))
}

func (t *tx) snapshots() iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		for s := range t.snapshotsAfter(time.Time{}, "") {
			if !s.Deleted && !yield(s) {
				return
			}
		}
	}
}

// snapshotsAfter yields the rows after a position, including tombstones of deleted ones.
func (t *tx) snapshotsAfter(started time.Time, id string) iter.Seq[*Snapshot] {
	return rowsAfter(t.change.Snapshots, t.rows.Snapshots, &t.w.store.snapshots, started, id)
}

func (t *tx) editSnapshot(id string) *Snapshot {
	if s, ok := t.change.Snapshots[id]; ok {
		return s
	}
	s := t.rows.Snapshots[id].clone()
	t.change.Snapshots[id] = s
	return s
}

func (t *tx) instance(id string) *Instance {
	return lookUp(t.change.Instances, t.rows.Instances, id)
}

func (t *tx) instances() iter.Seq[*Instance] {
	return all(t.change.Instances, t.rows.Instances, func(a, b *Instance) int { return byAge(a.Launched, b.Launched, a.ID, b.ID) })
}

func (t *tx) editInstance(id string) *Instance {
	if i, ok := t.change.Instances[id]; ok {
		return i
	}
	i := t.rows.Instances[id].clone()
	t.change.Instances[id] = i
	return i
}

func (t *tx) image(id string) *Image {
	return unlessDeleted(lookUp(t.change.Images, t.rows.Images, id))
}

func (t *tx) images() iter.Seq[*Image] {
	return func(yield func(*Image) bool) {
		for i := range t.everyImage() {
			if !i.Deleted && !yield(i) {
				return
			}
		}
	}
}

// everyImage is images including tombstones of deregistered ones.
func (t *tx) everyImage() iter.Seq[*Image] {
	return all(t.change.Images, t.rows.Images, func(a, b *Image) int { return byAge(a.Created, b.Created, a.ID, b.ID) })
}

func (t *tx) editImage(id string) *Image {
	if i, ok := t.change.Images[id]; ok {
		return i
	}
	i := t.rows.Images[id].clone()
	t.change.Images[id] = i
	return i
}
