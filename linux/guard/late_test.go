package guard

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A file system whose image lies on a frozen one takes as long to freeze as that stays frozen: its dirty data cannot
// be written.
func makeSlowDisk(t *testing.T) (under, slow disk) {
	t.Helper()
	under = makeDisks(t, "ext4", 1)[0]
	slow = makeDisksIn(t, under.path, "ext4", 1)[0]
	t.Cleanup(func() { thawPath(under.path) }) // first of all: what waits in the upper one waits for this
	return under, slow
}

func dirty(t *testing.T, d disk) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.path, "dirty"), make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The guard itself looks at the clock last: whatever its parent was held up by, it freezes nothing after the limit.
func TestAGuardFreezesNothingAfterItsLimit(t *testing.T) {
	d := makeDisks(t, "ext4", 1)[0]
	for _, tt := range []struct {
		limit time.Duration // from now on
		want  error
	}{{-time.Millisecond, syscall.ETIME}, {time.Hour, nil}} {
		g := startGuard(t, asMounts([]disk{d}), Options{MaxHold: time.Minute, NotAfter: time.Now().Add(tt.limit)})
		if err := g.Freeze(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.limit, err, tt.want)
		}
		h, err := g.Thaw(t.Context())
		if errno := thawPath(d.path); errno != syscall.EINVAL {
			t.Errorf("%s: left frozen (%v)", tt.limit, errno)
		}
		if tt.want == nil && (err != nil || !h.Unbroken) {
			t.Errorf("%+v, %v", h, err)
		}
		_ = g.Release()
	}
}

func TestALateFreezeIsThawedWhenItReturns(t *testing.T) {
	under, slow := makeSlowDisk(t)
	quick := makeDisks(t, "ext4", 1)[0]
	g := startGuard(t, asMounts([]disk{slow, quick}), Options{MaxHold: 300 * time.Millisecond})
	t.Cleanup(func() { thawPath(under.path) })
	dirty(t, slow)
	freezePath(t, under.path)
	err := g.Freeze(t.Context())
	if err == nil || !strings.Contains(err.Error(), slow.path) {
		t.Fatalf("a freeze that hangs: %v", err)
	}
	if errno := thawPath(quick.path); errno != syscall.EINVAL {
		t.Errorf("%s was left frozen (%v)", quick.path, errno)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if h, err := g.Thaw(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), slow.path) || h.Unbroken {
		t.Errorf("thawing while a freeze hangs: %+v, %v", h, err)
	}
	if err := g.Release(); err == nil {
		t.Error("the guard was released with a freeze under way")
	}
	thawPath(under.path)
	h, err := g.Thaw(t.Context())
	if err != nil || h.Unbroken || h.Frozen < 300*time.Millisecond {
		t.Errorf("hold %+v, %v", h, err)
	}
	if errno := thawPath(slow.path); errno != syscall.EINVAL {
		t.Errorf("the late freeze stayed (%v)", errno)
	}
	<-g.reaped // as Release promised
}

func TestAKilledGuardWhoseFreezeReturnsLate(t *testing.T) {
	under, slow := makeSlowDisk(t)
	quick := makeDisks(t, "ext4", 1)[0]
	w := startWriter(t, quick)
	g := startGuard(t, asMounts([]disk{slow, quick}), Options{MaxHold: 3 * time.Second})
	t.Cleanup(func() { thawPath(under.path) })
	dirty(t, slow)
	freezePath(t, under.path)
	failed := make(chan error)
	go func() { failed <- g.Freeze(context.Background()) }()
	waitUntil(t, slowly, "the quick one freezes", func() bool {
		return g.is(func() bool { return g.state[1].phase == frozen })
	})
	w.isBlocked()
	killed := monotonic()
	_ = syscall.Kill(g.PID(), syscall.SIGKILL)
	// The thread in FIFREEZE keeps the dead guard's socket open, so the parent learns of it by MaxHold alone.
	if blocked := time.Duration(w.after(killed) - killed); blocked > slowly {
		t.Errorf("the writer was blocked for %s", blocked)
	}
	thawPath(under.path)
	if err := <-failed; err == nil {
		t.Error("the freeze was said to have succeeded")
	}
	if h, err := g.Thaw(t.Context()); err != nil || h.Unbroken {
		t.Errorf("hold %+v, %v", h, err)
	}
	if errno := thawPath(slow.path); errno != syscall.EINVAL {
		t.Errorf("the late freeze stayed (%v)", errno)
	}
}
