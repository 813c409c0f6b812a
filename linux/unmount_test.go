package linux

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inFlight sends an open file of the mount over a socket that nobody reads: it keeps the mount busy, and no process has it.
func inFlight(t *testing.T, target string) (release func()) {
	t.Helper()
	f, err := os.Open(target)
	must(t, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(int(f.Fd())), nil, 0))
	must(t, f.Close())
	return func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) }
}

func TestAnUnmountOutlastsAUseThatIsOverInAMoment(t *testing.T) {
	h := New(Roots{})
	m := mounted(t, h, formatted(t, h, "ext4", 32*mib), "ext4")
	release := inFlight(t, m.Mount.Target)
	if err := unix.Unmount(m.Mount.Target, 0); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("it is not busy: %v", err)
	}
	time.AfterFunc(200*time.Millisecond, release)
	must(t, h.Unmount(t.Context(), m.Mount.Target))
}

func TestAnUnmountEndsWhereAnUnknownUserStays(t *testing.T) {
	h := New(Roots{})
	m := mounted(t, h, formatted(t, h, "ext4", 32*mib), "ext4")
	defer inFlight(t, m.Mount.Target)()
	var busy *BusyError
	if err := h.Unmount(t.Context(), m.Mount.Target); !errors.As(err, &busy) || len(busy.Holders) > 0 {
		t.Errorf("Unmount = %v, want a BusyError that names nobody", err)
	}
}
