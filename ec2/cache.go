package ec2

import (
	"strings"
	"sync"
	"time"
)

// cacheTTL is how long a volume is taken for what a describe showed. It is far below what EC2's own describes may lag
// behind, and below the pauses of whoever looks again because it did not like what it saw.
const cacheTTL = time.Second

// volumeCache keeps the newest sight of each volume, so that lanes whose disks hold them up by different times need no
// describe each for what one has just shown. Any request of this client that may change something makes it forget, when
// it is sent and again when its answer is there: nobody is told of a time before a change of our own.
type volumeCache struct {
	mu      sync.Mutex
	changes int // requests sent, and answered, that may change something
	entries map[string]cachedVolume
}

type cachedVolume struct {
	volume Volume
	asked  time.Time // when the describe was sent
}

// mutates says whether an action may change anything.
func mutates(op string) bool { return !strings.HasPrefix(op, "Describe") }

func (r *volumeCache) invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	clear(r.entries)
}

// asking is called before a describe; what it returns goes to keep with the answer.
func (r *volumeCache) begin() (changes int, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes, time.Now()
}

// keep remembers what a describe of volumes showed, unless something was changed since the question. Only looks at single
// volumes and at an instance's count: who lists by tags does so to look once more later, before a deletion.
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

// volume returns what was seen of a volume a moment ago. That one was not seen says nothing.
func (r *volumeCache) get(id string) (Volume, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.entries[id]
	if !known || !s.fresh(time.Now()) {
		return Volume{}, false
	}
	return s.volume.clone(), true
}

// fresh goes by the wall clock as well: the monotonic one stands still while the instance hibernates.
func (s cachedVolume) fresh(now time.Time) bool {
	wall := now.Round(0).Sub(s.asked.Round(0))
	return now.Sub(s.asked) <= cacheTTL && 0 <= wall && wall <= cacheTTL
}
