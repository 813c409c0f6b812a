package ec2

import (
	"strings"
	"sync"
	"time"
)

// cacheTTL is how long a described volume may be served from the cache. It is far below the lag of EC2's own
// describes, and below the retry delays of callers that describe again.
const cacheTTL = time.Second

// volumeCache keeps the latest description of each volume, so that lanes that reach the same step a moment apart
// share one describe. Every mutating request of this client clears it, once when it is sent and once when it is
// answered: no caller gets a state from before our own change.
type volumeCache struct {
	mu      sync.Mutex
	changes int // requests sent, and answered, that may change something
	entries map[string]cachedVolume
}

type cachedVolume struct {
	volume Volume
	asked  time.Time // when the describe was sent
}

// mutates reports whether an action may change anything.
func mutates(op string) bool { return !strings.HasPrefix(op, "Describe") }

func (r *volumeCache) invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	clear(r.entries)
}

// begin is called before a describe. Its results are passed to put together with the answer.
func (r *volumeCache) begin() (changes int, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes, time.Now()
}

// put stores the result of a describe, unless a mutating request was sent since it began. Only describes of single
// volumes and of an instance's volumes count: a list by tags is used to check again before a deletion, which must not
// be answered from a cache.
func (r *volumeCache) put(changes int, asked time.Time, filter string, values []string, found []Volume) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if changes != r.changes || filter != "volume-id" && filter != "attachment.instance-id" {
		return
	}
	if r.entries == nil {
		r.entries = make(map[string]cachedVolume)
	}
	if filter == "volume-id" { // what is not shown any more was not seen
		for _, id := range values {
			if s, known := r.entries[id]; known && s.asked.Before(asked) {
				delete(r.entries, id)
			}
		}
	}
	for _, v := range found {
		if s, known := r.entries[v.ID]; !known || s.asked.Before(asked) {
			r.entries[v.ID] = cachedVolume{v.clone(), asked}
		}
	}
}

// get returns a volume that was described less than cacheTTL ago. A miss says nothing about the volume.
func (r *volumeCache) get(id string) (Volume, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.entries[id]
	if !known || !s.fresh(time.Now()) {
		return Volume{}, false
	}
	return s.volume.clone(), true
}

// fresh also checks the wall clock: the monotonic clock stops while the instance hibernates.
func (s cachedVolume) fresh(now time.Time) bool {
	wall := now.Round(0).Sub(s.asked.Round(0))
	return now.Sub(s.asked) <= cacheTTL && 0 <= wall && wall <= cacheTTL
}
