// Package journal is the durable record of runs: one bbolt file per run in
// STATE/runs. Every intent and every outcome is in it before the run goes on,
// so that a run killed at any instant can be resumed or rolled back from the
// file alone.
//
// It imports plan, knows no step kind and decides nothing.
package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"snaptastic/plan"
)

// Schema is the version of the file's layout. A newer one is refused.
const Schema = 1

var (
	bucketMeta   = []byte("meta")
	bucketPlan   = []byte("plan")
	bucketSteps  = []byte("steps")
	bucketEvents = []byte("events")
	keySchema    = []byte("schema") // plain ASCII, readable without a codec
	keyMeta      = []byte("run")
	keyPlan      = []byte("plan")
)

// ErrLive: another process holds the file, so its run is live.
var ErrLive = errors.New("the run is live in another process")

// A DamagedError is a journal that cannot be trusted.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("journal %s is damaged: %v", e.Path, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

// A Journal is one open run file, locked against other processes.
//
//	meta/    schema -> "1", run -> Meta
//	plan/    plan -> JSON, immutable
//	steps/   step id -> Record           (the truth)
//	events/  big-endian seq -> Entry     (history; folding it gives steps/)
type Journal struct {
	db      *bolt.DB
	file    *handle
	path    string
	meta    Meta
	plan    *plan.Plan
	records map[plan.StepID]Record

	queue chan batch
	done  chan struct{}
	once  sync.Once
}

type batch struct {
	entries []encoded
	err     error // they could not be encoded
	done    func(error)
}

// options: a map freelist that is not synced commits faster on an aged file;
// it is rebuilt at open, which for these small files takes microseconds.
func options(readOnly bool) *bolt.Options {
	return &bolt.Options{
		Timeout:        patience(readOnly),
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		ReadOnly:       readOnly,
	}
}

// patience is how long a lock is waited for. Whoever reads is only kept out by
// a live run, and need not wait (bbolt tries once within 50 ms); whoever means
// to write may find a reader there, who goes soon.
func patience(readOnly bool) time.Duration {
	if readOnly {
		return 50 * time.Millisecond
	}
	return 2 * time.Second
}

// create makes the file under a temporary name and renames it, so that a run
// file that exists is whole. The caller holds the claims. The temporary file may
// be there already: an empty database, from the reserve.
func create(path string, m Meta, p *plan.Plan) (*Journal, error) {
	tmp, file := path+".new", &handle{}
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
		return write(tx, first)
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
	return start(&Journal{db: db, file: file, path: path, meta: m, plan: p, records: map[plan.StepID]Record{}}), nil
}

// open locks an existing file and reads it whole.
func open(path string, readOnly bool) (j *Journal, err error) {
	// bbolt checks its pages lazily: on some kinds of damage it panics, or
	// follows a page number beyond the mapped file, which is a memory fault.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			j, err = nil, &DamagedError{path, fmt.Errorf("%v", r)}
		}
	}()
	if fi, err := os.Stat(path); err != nil {
		return nil, err
	} else if fi.Size() == 0 { // bbolt would initialise an empty file
		return nil, &DamagedError{path, errors.New("it is empty")}
	}
	file := &handle{}
	db, err := bolt.Open(path, 0o600, file.options(readOnly))
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrLive
	case errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist):
		return nil, err
	case err != nil:
		var system syscall.Errno // says nothing of what is in the file
		if errors.As(err, &system) {
			return nil, fmt.Errorf("cannot read journal %s: %w", path, err)
		}
		return nil, &DamagedError{path, err}
	}
	j = &Journal{db: db, file: file, path: path, records: map[plan.StepID]Record{}}
	if err := db.View(j.load); err != nil {
		_ = db.Close()
		return nil, err
	}
	if readOnly {
		return j, nil
	}
	return start(j), nil
}

func (j *Journal) load(tx *bolt.Tx) error {
	damaged := func(format string, a ...any) error { return &DamagedError{j.path, fmt.Errorf(format, a...)} }
	for _, name := range [][]byte{bucketMeta, bucketPlan, bucketSteps, bucketEvents} {
		if tx.Bucket(name) == nil {
			return damaged("bucket %s is missing", name)
		}
	}
	var schema int
	if _, err := fmt.Sscanf(string(tx.Bucket(bucketMeta).Get(keySchema)), "%d", &schema); err != nil || schema < 1 {
		return damaged("its schema is not a number")
	}
	if schema > Schema {
		return fmt.Errorf("cannot use journal %s: its schema is %d and this program knows up to %d; install the newer program", j.path, schema, Schema)
	}
	if err := json.Unmarshal(tx.Bucket(bucketMeta).Get(keyMeta), &j.meta); err != nil {
		return damaged("meta: %w", err)
	}
	p, err := plan.Decode(tx.Bucket(bucketPlan).Get(keyPlan))
	if err != nil {
		return damaged("%w", err)
	}
	if p.Digest() != j.meta.Digest {
		return damaged("the plan is not the one it was made for")
	}
	j.plan = p
	known := make(map[plan.StepID]bool, len(p.Steps))
	for i := range p.Steps {
		known[p.Steps[i].ID] = true
	}
	return tx.Bucket(bucketSteps).ForEach(func(k, v []byte) error {
		var r Record
		if err := json.Unmarshal(v, &r); err != nil {
			return damaged("record of step %s: %w", k, err)
		}
		if !known[plan.StepID(k)] || !r.valid() {
			return damaged("record of step %s makes no sense", k)
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

func start(j *Journal) *Journal {
	j.queue = make(chan batch, 64)
	j.done = make(chan struct{})
	go j.writer()
	return j
}

// Path is the run's file.
func (j *Journal) Path() string { return j.path }

// Plan is the run's plan. It must not be changed.
func (j *Journal) Plan() *plan.Plan { return j.plan }

// Meta is the run's meta as it was when the file was opened or last written.
func (j *Journal) Meta() Meta { return j.meta }

// Records are the steps' records as they were when the file was opened. The
// map is the caller's.
func (j *Journal) Records() map[plan.StepID]Record {
	m := make(map[plan.StepID]Record, len(j.records))
	for k, v := range j.records {
		m[k] = v
	}
	return m
}

// Commit queues entries; done is called from the writer's goroutine once they
// are durable, or could not be written. Order is kept. It must not be called
// after Close.
func (j *Journal) Commit(entries []Entry, done func(error)) {
	e, err := encode(entries) // here, while the writer waits for the disk
	j.queue <- batch{e, err, done}
}

// Write commits and waits.
func (j *Journal) Write(entries ...Entry) error {
	ch := make(chan error, 1)
	j.Commit(entries, func(err error) { ch <- err })
	return <-ch
}

// SetMeta writes the run's meta and remembers it.
func (j *Journal) SetMeta(m Meta) error {
	if err := j.Write(Entry{Meta: &m}); err != nil {
		return err
	}
	j.meta = m
	return nil
}

// writer owns all writing. What is queued together shares a transaction; it
// never waits for company (bbolt's own Batch does). After a write that failed
// it writes nothing more: a later record may stand on the one that is missing.
func (j *Journal) writer() {
	defer close(j.done)
	var err error
	for b := range j.queue {
		all := []batch{b}
	drain:
		for {
			select {
			case more, ok := <-j.queue:
				if !ok {
					break drain
				}
				all = append(all, more)
			default:
				break drain
			}
		}
		if err == nil {
			err = j.update(all)
		}
		for _, b := range all {
			b.done(err)
		}
	}
}

func (j *Journal) update(all []batch) error {
	err := j.db.Update(func(tx *bolt.Tx) error {
		for _, b := range all {
			if b.err != nil {
				return b.err
			}
			if err := write(tx, b.entries); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot write journal %s: %w", j.path, err)
	}
	return j.file.lost(j.path)
}

func write(tx *bolt.Tx, entries []encoded) error {
	events, steps := tx.Bucket(bucketEvents), tx.Bucket(bucketSteps)
	events.FillPercent = 1 // keys only rise
	for _, e := range entries {
		seq, err := events.NextSequence()
		if err != nil {
			return err
		}
		if err := events.Put(binary.BigEndian.AppendUint64(nil, seq), e.event); err != nil {
			return err
		}
		if e.step == nil {
			err = tx.Bucket(bucketMeta).Put(keyMeta, e.body)
		} else {
			err = steps.Put(e.step, e.body)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Events calls f for each entry ever written, oldest first.
func (j *Journal) Events(f func(seq uint64, e Entry) error) error {
	return j.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketEvents).ForEach(func(k, v []byte) error {
			var e Entry
			if err := json.Unmarshal(v, &e); err != nil {
				return &DamagedError{j.path, err}
			}
			return f(binary.BigEndian.Uint64(k), e)
		})
	})
}

// Close waits for queued writes and unlocks the file.
func (j *Journal) Close() error {
	var err error
	j.once.Do(func() {
		if j.queue != nil {
			close(j.queue)
			<-j.done
		}
		err = j.db.Close()
	})
	return err
}
