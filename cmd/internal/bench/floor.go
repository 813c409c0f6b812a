package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"snaptastic/journal"
	"snaptastic/plan"
)

// A floor commits records with nothing around them: the bytes are encoded
// beforehand, and a goroutine puts what is ready into one bbolt transaction,
// with the journal's own options. It is what an engine could at best cost.
type floor struct {
	db    *bolt.DB
	queue chan put
	over  chan struct{}
}

type put struct {
	records []encoded
	done    chan<- error
}

// encoded is a record as the journal stores it, twice: as history and as truth.
type encoded struct{ step, event, record []byte }

func encode(entries []journal.Entry) []encoded {
	var out []encoded
	for _, e := range entries {
		event, _ := json.Marshal(e)
		record, _ := json.Marshal(e.Record)
		out = append(out, encoded{[]byte(e.Step), event, record})
	}
	return out
}

func openFloor(dir string) (*floor, error) {
	path := filepath.Join(dir, "floor.db")
	_ = os.Remove(path)
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket([]byte("events")); err != nil {
			return err
		}
		_, err := tx.CreateBucket([]byte("steps"))
		return err
	})
	if err != nil {
		return nil, err
	}
	f := &floor{db: db, queue: make(chan put, 4096), over: make(chan struct{})}
	go f.write()
	return f, nil
}

func (f *floor) write() {
	defer close(f.over)
	for p := range f.queue {
		all := []put{p}
		for more := true; more; {
			select {
			case p, ok := <-f.queue:
				if more = ok; ok {
					all = append(all, p)
				}
			default:
				more = false
			}
		}
		err := f.db.Update(func(tx *bolt.Tx) error {
			events, steps := tx.Bucket([]byte("events")), tx.Bucket([]byte("steps"))
			events.FillPercent = 1
			for _, p := range all {
				for _, r := range p.records {
					seq, err := events.NextSequence()
					if err != nil {
						return err
					}
					if err := events.Put(binary.BigEndian.AppendUint64(nil, seq), r.event); err != nil {
						return err
					}
					if err := steps.Put(r.step, r.record); err != nil {
						return err
					}
				}
			}
			return nil
		})
		for _, p := range all {
			p.done <- err
		}
	}
}

func (f *floor) commit(records []encoded) error {
	done := make(chan error, 1)
	f.queue <- put{records, done}
	return <-done
}

func (f *floor) close() error {
	close(f.queue)
	<-f.over
	return f.db.Close()
}

// replay commits each lane's records in order, the lanes side by side, and
// returns how long that takes. lanes holds, per lane, its commits in order.
func replay(dir string, lanes [][][]encoded) (time.Duration, error) {
	f, err := openFloor(dir)
	if err != nil {
		return 0, err
	}
	var (
		all   sync.WaitGroup
		first error
		once  sync.Once
	)
	began := time.Now()
	for _, lane := range lanes {
		all.Go(func() {
			for _, records := range lane {
				if err := f.commit(records); err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if err := f.close(); err != nil {
		return 0, err
	}
	return took, first
}

// byLane sorts recorded entries into lanes; within one, an outcome and the
// next step's intent are one commit.
func byLane(p *plan.Plan, entries []journal.Entry) [][][]encoded {
	lane := map[plan.StepID]string{}
	for i := range p.Steps {
		lane[p.Steps[i].ID] = p.Steps[i].Lane
	}
	at := map[string]int{}
	var lanes [][][]encoded
	for _, e := range entries {
		l := lane[e.Step]
		i, ok := at[l]
		if !ok {
			i = len(lanes)
			at[l] = i
			lanes = append(lanes, nil)
		}
		one := encode([]journal.Entry{e})
		if n := len(lanes[i]); e.Record.State == journal.Started && n > 0 {
			lanes[i][n-1] = append(lanes[i][n-1], one...)
		} else {
			lanes[i] = append(lanes[i], one)
		}
	}
	return lanes
}
