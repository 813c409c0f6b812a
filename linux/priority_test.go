package linux

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Every thread, those that were made meanwhile as well, has its niceness back afterwards.
func TestHasten(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	all := func() map[int]bool {
		seen := map[int]bool{}
		threads, _ := filepath.Glob("/proc/self/task/*")
		for _, p := range threads {
			id, _ := strconv.Atoi(filepath.Base(p))
			if n, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil {
				seen[20-n] = true
			}
		}
		return seen
	}
	before := all()
	relax, err := Hasten()
	if err != nil {
		t.Fatal(err)
	}
	if now := all(); len(now) != 1 || !now[-20] {
		t.Errorf("hastened: %v", now)
	}
	relax()
	if now := all(); len(before) != 1 || len(now) != 1 || now[-20] {
		t.Errorf("before %v, after %v", before, now)
	}
}
