// Package journal is the durable record of runs: one bbolt file per run in
// STATE/runs. Every intent and every outcome is in it before the run goes on,
// so that a run killed at any instant can be resumed or rolled back from the
// file alone.
//
// It imports plan, knows no step kind and decides nothing.
package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"

	"snaptastic/plan"
)

// Schema is the version of the file's layout. A newer one is refused. Files of
// schema 1, whose events carry no checksum, are read and written as they are.
const Schema = 2

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

// A Journal is one open run file, locked against other processes.
//
//	meta/    schema -> "2", run -> Meta
//	plan/    plan -> JSON, immutable       (its digest is in meta)
//	steps/   step id -> Record             (the truth)
//	events/  big-endian seq -> Entry, seal (history; folding it gives steps/ and meta/)
//	calls/   big-endian seq -> calls, seal (of EC2; made when the first one is written)
type Journal struct {
	db      *bolt.DB
	file    *handle
	path    string
	schema  int
	meta    Meta
	plan    *plan.Plan
	planSum [sha256.Size]byte // of its bytes in the file; set when that was opened
	records map[plan.StepID]Record

	calls callBuffer
	queue chan batch
	done  chan struct{}
	once  sync.Once
}

type batch struct {
	entries []encoded
	err     error // they could not be encoded
	done    func(error)
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
	maps.Copy(m, j.records)
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
// never waits for more entries (bbolt's own Batch does). After a failed write
// it writes nothing more: a later record may depend on the one that is missing.
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
	if !slices.ContainsFunc(all, func(b batch) bool { return b.err != nil || len(b.entries) > 0 }) {
		return nil // every transaction has an event, which identifies it
	}
	calls := j.calls.take()
	err := j.db.Update(func(tx *bolt.Tx) error {
		if err := writeCalls(tx, runOf(j.path), calls); err != nil {
			return err
		}
		for _, b := range all {
			if b.err != nil {
				return b.err
			}
			if err := write(tx, runOf(j.path), j.schema, b.entries); err != nil {
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

func write(tx *bolt.Tx, run plan.RunID, schema int, entries []encoded) error {
	events, steps := tx.Bucket(bucketEvents), tx.Bucket(bucketSteps)
	events.FillPercent = 1 // keys only rise
	for _, e := range entries {
		seq, err := events.NextSequence()
		if err != nil {
			return err
		}
		event := e.event
		if schema > 1 {
			event = seal(event, run, seq, uint64(tx.ID()))
		}
		if err := events.Put(binary.BigEndian.AppendUint64(nil, seq), event); err != nil {
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
			if j.schema > 1 {
				v = v[:len(v)-sealSize] // checked when it was opened
			}
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
