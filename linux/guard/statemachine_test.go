package guard

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// eventLog is what the hold's ioctls act on under a synctest clock; every event is noted with its second.
type eventLog struct {
	mu     sync.Mutex
	begin  time.Time
	events []string
	frozen map[int]bool
}

func (w *eventLog) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Since(w.begin).Seconds()
	w.events = append(w.events, fmt.Sprintf("%g ", at)+fmt.Sprintf(format, args...))
}

// scenario is what the parent does and the kernel answers.
type scenario struct {
	name    string
	freezes []ioctlAnswer // one per file system
	thaws   map[int][]syscall.Errno
	words   []order
	want    []string
	orphan  bool
	late    bool
}

type ioctlAnswer struct {
	takes time.Duration
	errno syscall.Errno
}

type order struct {
	at   time.Duration
	kind kind
}

func TestStateMachine(t *testing.T) {
	s := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	for _, c := range []scenario{
		{
			name:    "frozen and thawed when asked",
			freezes: []ioctlAnswer{{takes: s(1)}, {takes: s(2)}},
			words:   []order{{0, doFreeze}, {s(5), doThaw}, {s(7), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 froze 1", "5 thaw 0", "5 thaw 1", "5 shut", "7 left"},
		}, {
			name:    "MaxHold runs from the first freeze",
			freezes: []ioctlAnswer{{takes: s(1)}, {takes: s(2)}},
			words:   []order{{s(3), doFreeze}, {s(20), doThaw}, {s(20), doRelease}},
			want:    []string{"3 open", "4 froze 0", "5 froze 1", "13 thaw 0", "13 thaw 1", "13 shut", "20 left"},
		}, {
			name:    "a freeze that returns after MaxHold is thawed at once",
			freezes: []ioctlAnswer{{takes: s(1)}, {takes: s(15)}},
			words:   []order{{0, doFreeze}, {s(11), doThaw}, {s(11), doRelease}},
			want:    []string{"0 open", "1 froze 0", "10 thaw 0", "15 froze 1", "15 thaw 1", "15 shut", "15 left"},
		}, {
			name:    "one refused: the others are thawed, the late one too, that one never",
			freezes: []ioctlAnswer{{takes: s(1)}, {s(2), syscall.EBUSY}, {takes: s(3)}},
			words:   []order{{0, doFreeze}, {s(4), doThaw}, {s(4), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 refused 1", "2 thaw 0", "3 froze 2", "3 thaw 2", "3 shut", "4 left"},
		}, {
			name:    "the parent dies while one is still freezing",
			freezes: []ioctlAnswer{{takes: s(1)}, {takes: s(4)}},
			words:   []order{{0, doFreeze}, {s(2), parentGone}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0", "4 froze 1", "4 thaw 1", "4 shut", "4 left"},
			orphan:  true,
		}, {
			name:    "the parent dies before anything",
			freezes: []ioctlAnswer{{}},
			words:   []order{{s(2), parentGone}},
			want:    []string{"2 left"},
			orphan:  true,
		}, {
			name:    "no freeze after the end",
			freezes: []ioctlAnswer{{}},
			words:   []order{{0, doThaw}, {s(1), doFreeze}, {s(2), doRelease}},
			want:    []string{"2 left"},
		}, {
			name:    "an order that comes too late freezes nothing",
			freezes: []ioctlAnswer{{takes: s(1)}, {takes: s(1)}},
			words:   []order{{s(1), doFreeze}, {s(2), doThaw}, {s(3), doRelease}},
			want:    []string{"1 shut", "3 left"},
			late:    true,
		}, {
			name:    "a second order to freeze is nothing",
			freezes: []ioctlAnswer{{takes: s(1)}},
			words:   []order{{0, doFreeze}, {s(2), doFreeze}, {s(3), doThaw}, {s(4), doFreeze}, {s(5), doRelease}},
			want:    []string{"0 open", "1 froze 0", "3 thaw 0", "3 shut", "5 left"},
		}, {
			name:    "a release thaws what is frozen before the guard leaves",
			freezes: []ioctlAnswer{{takes: s(1)}},
			words:   []order{{0, doFreeze}, {s(2), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0", "2 shut", "2 left"},
		}, {
			name:    "a thaw that fails is tried again",
			freezes: []ioctlAnswer{{takes: s(1)}},
			thaws:   map[int][]syscall.Errno{0: {syscall.EIO, syscall.EIO}},
			words:   []order{{0, doFreeze}, {s(2), doThaw}, {s(2), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0: input/output error", "2.1 thaw 0: input/output error", "2.2 thaw 0", "2.2 shut", "2.2 left"},
		}, {
			name:    "thawed by another: over all the same",
			freezes: []ioctlAnswer{{takes: s(1)}},
			thaws:   map[int][]syscall.Errno{0: {syscall.EINVAL}},
			words:   []order{{0, doFreeze}, {s(2), doThaw}, {s(2), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0: invalid argument", "2 shut", "2 left"},
		},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, c.run) })
	}
}

func (c scenario) run(t *testing.T) {
	w := &eventLog{begin: time.Now(), frozen: map[int]bool{}}
	h := &stateMachine{
		mounts: len(c.freezes), maxHold: 10 * time.Second,
		freeze: func(i int) syscall.Errno {
			time.Sleep(c.freezes[i].takes)
			if errno := c.freezes[i].errno; errno != 0 {
				w.note("refused %d", i)
				return errno
			}
			w.note("froze %d", i)
			return 0
		},
		thaw: func(i int) syscall.Errno {
			// One tick of order, so that what happens in one second is noted in the order of the file systems.
			time.Sleep(time.Duration(i) * time.Nanosecond)
			w.mu.Lock()
			var errno syscall.Errno
			if a := c.thaws[i]; len(a) > 0 {
				errno, c.thaws[i] = a[0], a[1:]
			}
			w.mu.Unlock()
			if errno != 0 {
				w.note("thaw %d: %v", i, errno)
				return errno
			}
			w.note("thaw %d", i)
			return 0
		},
		now:          func() int64 { return int64(time.Since(w.begin)) },
		tell:         func(message) {},
		late:         func() bool { return c.late },
		beforeFreeze: func() { w.note("open") },
		afterThaw:    func() { w.note("shut") },
	}
	h.prepare()
	commands := make(chan kind)
	go func() {
		for _, word := range c.words {
			time.Sleep(word.at - time.Since(w.begin))
			commands <- word.kind
		}
	}()
	orphan := h.run(commands)
	w.note("left")
	if orphan != c.orphan {
		t.Errorf("orphaned: %t", orphan)
	}
	if got, want := rounded(w.events), fmt.Sprint(c.want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// rounded drops the nanoseconds that give simultaneous events their order.
func rounded(events []string) string {
	out := make([]string, len(events))
	for i, e := range events {
		var at float64
		fmt.Sscan(e, &at)
		rest := e[len(fmt.Sprintf("%g ", at)):]
		out[i] = fmt.Sprintf("%g %s", float64(int(at*1000+0.5))/1000, rest)
	}
	return fmt.Sprint(out)
}
