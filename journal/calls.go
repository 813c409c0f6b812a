package journal

import (
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"snaptastic/plan"
)

var bucketCalls = []byte("calls")

// A Call is one request to EC2, and its answer.
type Call struct {
	At        time.Time `json:"at"`      // when it was sent
	Seconds   float64   `json:"seconds"` // until it was answered
	Action    string    `json:"action"`
	Code      string    `json:"code,omitempty"` // EC2's error code, or what kind of failure it was; "" for success
	Throttled bool      `json:"throttled,omitempty"`
}

// Calls are those of a run that its journal holds.
type Calls struct {
	Calls   []Call `json:"calls,omitempty"`   // oldest first of each process
	Dropped int    `json:"dropped,omitempty"` // more than that many were made
}

// maxCalls is how many calls of one process a journal holds: some 400 KiB.
const maxCalls = 4096

// callBuffer is what is not written yet.
type callBuffer struct {
	mu sync.Mutex
	Calls
	held int // so far, by this process
}

// AddCall notes a call. It only writes to memory: the call reaches the file along with the next entry, so that it costs the
// run neither a transaction nor a wait, and nothing while file systems are frozen.
func (j *Journal) AddCall(c Call) {
	j.calls.mu.Lock()
	defer j.calls.mu.Unlock()
	if j.calls.held == maxCalls {
		j.calls.Dropped++
		return
	}
	j.calls.held++
	j.calls.Calls.Calls = append(j.calls.Calls.Calls, c)
}

func (b *callBuffer) take() Calls {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.Calls
	b.Calls = Calls{}
	return out
}

func writeCalls(tx *bolt.Tx, run plan.RunID, calls Calls) error {
	if len(calls.Calls) == 0 && calls.Dropped == 0 {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(bucketCalls)
	if err != nil {
		return err
	}
	bucket.FillPercent = 1 // keys only rise
	seq, err := bucket.NextSequence()
	if err != nil {
		return err
	}
	body, err := json.Marshal(calls)
	if err != nil {
		return err
	}
	return bucket.Put(binary.BigEndian.AppendUint64(nil, seq), seal(body, run, seq, uint64(tx.ID())))
}

// Calls are the EC2 calls that the journal holds, by all processes; none in journals of earlier versions. A resume does not
// need them, so opening a journal does not check them: the error says that they are damaged.
func (j *Journal) Calls() (all Calls, err error) {
	err = j.db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketCalls)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			body, _, ok := unseal(v, runOf(j.path), binary.BigEndian.Uint64(k))
			var some Calls
			if !ok || json.Unmarshal(body, &some) != nil {
				return damagef("the EC2 calls in journal %s are damaged", j.path)
			}
			all.Calls, all.Dropped = append(all.Calls, some.Calls...), all.Dropped+some.Dropped
			return nil
		})
	})
	return all, err
}
