package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// in is the client of a region; "" is this machine's own.
func (w *Env) in(ctx context.Context, region string) (Cloud, error) {
	if region == "" || w.CloudIn == nil || region == w.Instance.Region {
		return w.Cloud, nil
	}
	c, err := w.CloudIn(ctx, region)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to EC2 in %s: %w", region, err)
	}
	return c, nil
}

// copySlots counts the copies that are under way in one region, as far as this process knows. A copy has its slot until EC2 shows
// that it is pending no more: whoever waits for a slot looks himself, so that none is lost, however a lane ends.
type copySlots struct {
	mu      sync.Mutex
	calls   int             // CopySnapshot calls under way
	turns   []*copyTurn     // of sets whose members have no slots yet
	pending map[string]bool // copies that EC2 has not completed
	free    chan struct{}   // closed when a slot becomes free
}

// A copyTurn is that of one set. It ends when all of its members have their slots, or with its time: a lane may fail before.
type copyTurn struct {
	left int
	ends time.Time
}

// turnTime is how long a set may take from its turn to its slots.
const turnTime = 10 * time.Second

func (w *Env) slotsOf(region string) *copySlots {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slots == nil {
		w.slots = map[string]*copySlots{}
	}
	if w.slots[region] == nil {
		w.slots[region] = &copySlots{pending: map[string]bool{}, free: make(chan struct{})}
	}
	return w.slots[region]
}

func (s *copySlots) freed() {
	close(s.free)
	s.free = make(chan struct{})
}

// turn waits until a set may begin: until there is a slot that no set before it will take. It takes none itself.
func (s *copySlots) turn(ctx context.Context, c Cloud, members int) error {
	return s.wait(ctx, c, func() bool {
		taken := len(s.pending) + s.calls
		s.turns = slices.DeleteFunc(s.turns, func(t *copyTurn) bool { return t.left == 0 || time.Now().After(t.ends) })
		for _, t := range s.turns {
			taken += t.left
		}
		if taken >= ec2.MaxCopies {
			return false
		}
		s.turns = append(s.turns, &copyTurn{members, time.Now().Add(turnTime)})
		return true
	})
}

// take waits for a slot for one copy.
func (s *copySlots) take(ctx context.Context, c Cloud) error {
	return s.wait(ctx, c, func() bool {
		if len(s.pending)+s.calls >= ec2.MaxCopies {
			return false
		}
		s.calls++
		if i := slices.IndexFunc(s.turns, func(t *copyTurn) bool { return t.left > 0 }); i >= 0 {
			s.turns[i].left--
		}
		return true
	})
}

// began gives a slot that was taken to the copy, or back.
func (s *copySlots) began(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	if id != "" {
		s.pending[id] = true
	} else {
		s.freed()
	}
}

// seen notes whether a copy is under way.
func (s *copySlots) seen(id string, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pending {
		s.pending[id] = true
	} else if s.pending[id] {
		delete(s.pending, id)
		s.freed()
	}
}

// lookAgain is how often somebody who waits looks whether the copies are still pending. Mostly their own waits tell it before.
const lookAgain = 30 * time.Second

func (s *copySlots) wait(ctx context.Context, c Cloud, try func() bool) error {
	for {
		s.mu.Lock()
		ok, free, ids := try(), s.free, slices.Collect(maps.Keys(s.pending))
		s.mu.Unlock()
		if ok {
			return nil
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-free:
			timer.Stop()
			continue
		case <-timer.C:
		}
		there, err := c.SnapshotsByID(ctx, ids...)
		if err != nil {
			continue // it is only to find out
		}
		for _, id := range ids {
			if one, shown := there[id]; shown && one.State != ebs.SnapshotPending {
				s.seen(id, false)
			}
		}
	}
}
