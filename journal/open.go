package journal

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// A DamagedError is a journal that cannot be trusted.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("journal damaged: %s: %v", e.Path, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint is what an operator can do about it.
func (e *DamagedError) Hint() string {
	return "`snaptastic resume` moves it to the directory damaged/ in the state directory and continues with the other runs. " + Traces(runOf(e.Path))
}

// Traces is how to find the resources of a run whose journal cannot be read.
func Traces(run plan.RunID) string {
	return "Volumes and snapshots created by the run have the tag snaptastic:run = " + string(run) + "; check EC2 for them, and check what is mounted"
}

// options: a map freelist that is not synced commits faster on an aged file;
// it is rebuilt at open, which for these small files takes microseconds.
func options(readOnly bool) *bolt.Options {
	return &bolt.Options{
		Timeout:        openTimeout, // never used: the file is already locked, or new
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		ReadOnly:       readOnly,
	}
}

// openTimeout is how long a writer waits for the lock: a reader may hold it
// briefly. Readers never wait, since only a live run locks them out.
const openTimeout = 2 * time.Second

// create makes the file under a temporary name and renames it, so that a run
// file that exists is whole. The caller holds the claims. The temporary file is
// there already when it comes from the reserve: an empty database.
func create(path string, m Meta, p *plan.Plan, how fileOpener) (*Journal, error) {
	tmp, file := path+".new", &handle{fileOptions: how}
	db, err := bolt.Open(tmp, 0o600, file.options(false))
	if err != nil {
		_ = os.Remove(tmp)
		return nil, fmt.Errorf("cannot create journal: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketPlan, bucketSteps, bucketEvents} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		body, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := tx.Bucket(bucketPlan).Put(keyPlan, body); err != nil {
			return err
		}
		if err := tx.Bucket(bucketMeta).Put(keySchema, fmt.Append(nil, Schema)); err != nil {
			return err
		}
		first, err := encode([]Entry{{Meta: &m}})
		if err != nil {
			return err
		}
		return write(tx, runOf(path), Schema, first)
	})
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		_ = db.Close()
		_ = os.Remove(tmp)
		return nil, fmt.Errorf("cannot create journal: %w", err)
	}
	return start(&Journal{db: db, file: file, path: path, schema: Schema, meta: m, plan: p, records: map[plan.StepID]Record{}}), nil
}

// open locks an existing file and checks all of it before bbolt reads it.
func open(path string, readOnly bool) (*Journal, error) { return reopen(path, readOnly, nil) }

// reopen is open for a file that was open before: an unchanged plan is not decoded again, which takes a quarter of
// the time.
func reopen(path string, readOnly bool, before *Journal) (j *Journal, err error) {
	// The check should find everything on which bbolt panics. If it does not, a
	// panic, or a memory fault beyond the mapped file, is damage as well.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			j, err = nil, &DamagedError{path, fmt.Errorf("%v", r)}
		}
	}()
	file := &handle{fileOptions: openChecked}
	db, err := bolt.Open(path, 0o600, file.options(readOnly))
	var cause errDamaged
	var refused errRefused
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrLive
	case errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) || errors.As(err, &refused):
		return nil, err
	case errors.As(err, &cause):
		return nil, &DamagedError{path, cause}
	case err != nil:
		var system syscall.Errno // an I/O error, not damage
		if errors.As(err, &system) {
			return nil, fmt.Errorf("cannot read journal %s: %w", path, err)
		}
		return nil, &DamagedError{path, err}
	}
	j = &Journal{db: db, file: file, path: path, records: map[plan.StepID]Record{}}
	if err := db.View(func(tx *bolt.Tx) error { return j.load(tx, before) }); err != nil {
		_ = db.Close()
		if errors.As(err, &cause) {
			err = &DamagedError{path, err}
		}
		return nil, err
	}
	if readOnly {
		return j, nil
	}
	return start(j), nil
}

// createNew makes a file that was not there.
func createNew(path string, flag int, mode os.FileMode) (*os.File, error) {
	return openOwn(path, flag|os.O_EXCL, mode)
}

// openReserved opens the reserve that was put in the new file's place.
func openReserved(path string, flag int, _ os.FileMode) (*os.File, error) {
	return openOwn(path, flag&^os.O_CREATE, 0)
}

// openChecked locks an existing file as bbolt is about to, for as long as it is
// open, and checks its pages: it does not change only while it is locked.
func openChecked(path string, flag int, _ os.FileMode) (*os.File, error) {
	f, err := openOwn(path, flag&^os.O_CREATE, 0)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		how = unix.LOCK_SH
	}
	deadline := time.Now().Add(openTimeout)
	for err = tryLock(f, how); errors.Is(err, unix.EWOULDBLOCK); err = tryLock(f, how) {
		if how == unix.LOCK_SH || time.Now().After(deadline) {
			err = bolterrors.ErrTimeout
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err == nil {
		err = checkFile(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func tryLock(f *os.File, how int) error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) }

func (j *Journal) load(tx *bolt.Tx, before *Journal) error {
	for _, name := range [][]byte{bucketMeta, bucketPlan, bucketSteps, bucketEvents} {
		if tx.Bucket(name) == nil {
			return damagef("bucket %s is missing", name)
		}
	}
	var err error
	if j.schema, err = strconv.Atoi(string(tx.Bucket(bucketMeta).Get(keySchema))); err != nil || j.schema < 1 {
		return damagef("its schema is not a number")
	}
	if j.schema > Schema {
		return fmt.Errorf("cannot use journal %s: it has schema %d, this version supports up to %d; install a newer version", j.path, j.schema, Schema)
	}
	if j.schema > 1 {
		if err := checkSeals(tx, runOf(j.path)); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(tx.Bucket(bucketMeta).Get(keyMeta), &j.meta); err != nil {
		return damagef("meta: %v", err)
	}
	if j.meta.Run != runOf(j.path) {
		return damagef("it belongs to run %s", j.meta.Run)
	}
	raw := tx.Bucket(bucketPlan).Get(keyPlan)
	j.planSum = sha256.Sum256(raw)
	var p *plan.Plan
	if before != nil && before.planSum == j.planSum {
		p = before.plan
	} else if p, err = plan.Decode(raw); err != nil {
		return damagef("%v", err)
	}
	if plan.DigestOf(raw) != j.meta.Digest {
		return damagef("the plan does not match the run")
	}
	j.plan = p
	known := make(map[plan.StepID]bool, len(p.Steps))
	for i := range p.Steps {
		known[p.Steps[i].ID] = true
	}
	return tx.Bucket(bucketSteps).ForEach(func(k, v []byte) error {
		var r Record
		if err := json.Unmarshal(v, &r); err != nil {
			return damagef("record of step %s: %v", k, err)
		}
		if !known[plan.StepID(k)] || !r.valid() {
			return damagef("record of step %s is invalid", k)
		}
		j.records[plan.StepID(k)] = r
		return nil
	})
}

func (r Record) valid() bool {
	switch r.State {
	case Started, Done, Failed, Skipped, Uncertain:
	default:
		return false
	}
	switch r.Undo {
	case "", UndoStarted, Undone, Kept:
	default:
		return false
	}
	return r.Generation >= 0 && r.Attempts >= 0
}
