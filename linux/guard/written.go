package guard

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// written tells whether anything reached a device while its file system was frozen. Nothing of a frozen file system's does, so
// that another program must have thawed it: one that froze it again in time would otherwise go unseen, since our own
// FITHAW then succeeds. What the kernel counts are the sectors of completed writes (Documentation/block/stat.rst, field 7).
//
// The count of requests (field 5) will not do: flushes are in it, and the last ones of a FIFREEZE end after it. No count is
// kept where /sys/block/DEV/queue/iostats is 0, for devices of a btrfs beyond the first, or for a file system of no block
// device. A thaw and a freeze between which nothing was written stay unseen, and do no harm: what is on the disk is the same.
type written struct {
	files []*os.File // nil where the kernel counts nothing
	from  []int64
	to    []int64
}

// counterOf is the file of a file system's device, "" without one.
func counterOf(e mountEntry) string {
	dev := e.dev
	if strings.HasPrefix(dev, "0:") { // btrfs: its super block has an anonymous number
		var st unix.Stat_t
		if unix.Stat(e.source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return ""
		}
		dev = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return "/sys/dev/block/" + dev + "/stat"
}

// openCounters opens the files before anything is frozen: to read one then costs microseconds and waits for nothing.
func openCounters(paths []string) *written {
	w := &written{files: make([]*os.File, len(paths)), from: make([]int64, len(paths)), to: make([]int64, len(paths))}
	for i, path := range paths {
		if path != "" {
			w.files[i], _ = os.Open(path)
		}
	}
	return w
}

// froze is called right after a FIFREEZE, thaws right before a FITHAW, each by its file system's own thread.
func (w *written) froze(index int) { w.from[index] = w.sectors(index) }
func (w *written) thaws(index int) { w.to[index] = w.sectors(index) }

// between is how many sectors were written from the one to the other; 0 where that cannot be told.
func (w *written) between(index int) int64 {
	if w.from[index] < 0 || w.to[index] < w.from[index] {
		return 0
	}
	return w.to[index] - w.from[index]
}

func (w *written) sectors(index int) int64 {
	if w.files[index] == nil {
		return -1
	}
	var buf [512]byte
	n, err := unix.Pread(int(w.files[index].Fd()), buf[:], 0)
	f := strings.Fields(string(buf[:max(n, 0)]))
	if err != nil || len(f) < 7 {
		return -1
	}
	sectors, err := strconv.ParseInt(f[6], 10, 64)
	if err != nil {
		return -1
	}
	return sectors
}
