package guard

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// world is what the hold's ioctls act on under a synctest clock; every event is noted with its second.
type world struct {
	mu     sync.Mutex
	begin  time.Time
	events []string
	frozen map[int]bool
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Since(w.begin).Seconds()
	w.events = append(w.events, fmt.Sprintf("%g ", at)+fmt.Sprintf(format, args...))
}

// script is what the parent does and the kernel answers.
type script struct {
	name    string
	freezes []answer // one per file system
	thaws   map[int][]syscall.Errno
	words   []word
	want    []string
	orphan  bool
}

type answer struct {
	takes time.Duration
	errno syscall.Errno
}

type word struct {
	at   time.Duration
	kind kind
}

func TestHold(t *testing.T) {
	s := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	for _, c := range []script{
		{
			name:    "frozen and thawed when asked",
			freezes: []answer{{takes: s(1)}, {takes: s(2)}},
			words:   []word{{0, doFreeze}, {s(5), doThaw}, {s(7), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 froze 1", "5 thaw 0", "5 thaw 1", "5 shut", "7 left"},
		}, {
			name:    "MaxHold runs from the first freeze",
			freezes: []answer{{takes: s(1)}, {takes: s(2)}},
			words:   []word{{s(3), doFreeze}, {s(20), doThaw}, {s(20), doRelease}},
			want:    []string{"3 open", "4 froze 0", "5 froze 1", "13 thaw 0", "13 thaw 1", "13 shut", "20 left"},
		}, {
			name:    "a freeze that returns after MaxHold is thawed at once",
			freezes: []answer{{takes: s(1)}, {takes: s(15)}},
			words:   []word{{0, doFreeze}, {s(11), doThaw}, {s(11), doRelease}},
			want:    []string{"0 open", "1 froze 0", "10 thaw 0", "15 froze 1", "15 thaw 1", "15 shut", "15 left"},
		}, {
			name:    "one refused: the others are thawed, the late one too, that one never",
			freezes: []answer{{takes: s(1)}, {s(2), syscall.EBUSY}, {takes: s(3)}},
			words:   []word{{0, doFreeze}, {s(4), doThaw}, {s(4), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 refused 1", "2 thaw 0", "3 froze 2", "3 thaw 2", "3 shut", "4 left"},
		}, {
			name:    "the parent dies while one is still freezing",
			freezes: []answer{{takes: s(1)}, {takes: s(4)}},
			words:   []word{{0, doFreeze}, {s(2), parentGone}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0", "4 froze 1", "4 thaw 1", "4 shut", "4 left"},
			orphan:  true,
		}, {
			name:    "the parent dies before anything",
			freezes: []answer{{}},
			words:   []word{{s(2), parentGone}},
			want:    []string{"2 left"},
			orphan:  true,
		}, {
			name:    "no freeze after the end",
			freezes: []answer{{}},
			words:   []word{{0, doThaw}, {s(1), doFreeze}, {s(2), doRelease}},
			want:    []string{"2 left"},
		}, {
			name:    "a second order to freeze is nothing",
			freezes: []answer{{takes: s(1)}},
			words:   []word{{0, doFreeze}, {s(2), doFreeze}, {s(3), doThaw}, {s(4), doFreeze}, {s(5), doRelease}},
			want:    []string{"0 open", "1 froze 0", "3 thaw 0", "3 shut", "5 left"},
		}, {
			name:    "a release thaws what is frozen before the guard leaves",
			freezes: []answer{{takes: s(1)}},
			words:   []word{{0, doFreeze}, {s(2), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0", "2 shut", "2 left"},
		}, {
			name:    "a thaw that fails is tried again",
			freezes: []answer{{takes: s(1)}},
			thaws:   map[int][]syscall.Errno{0: {syscall.EIO, syscall.EIO}},
			words:   []word{{0, doFreeze}, {s(2), doThaw}, {s(2), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0: input/output error", "2.1 thaw 0: input/output error", "2.2 thaw 0", "2.2 shut", "2.2 left"},
		}, {
			name:    "thawed by another: over all the same",
			freezes: []answer{{takes: s(1)}},
			thaws:   map[int][]syscall.Errno{0: {syscall.EINVAL}},
			words:   []word{{0, doFreeze}, {s(2), doThaw}, {s(2), doRelease}},
			want:    []string{"0 open", "1 froze 0", "2 thaw 0: invalid argument", "2 shut", "2 left"},
		},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, c.run) })
	}
}

func (c script) run(t *testing.T) {
	w := &world{begin: time.Now(), frozen: map[int]bool{}}
	h := &hold{
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
		now:  func() int64 { return int64(time.Since(w.begin)) },
		tell: func(message) {},
		open: func() { w.note("open") },
		shut: func() { w.note("shut") },
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
