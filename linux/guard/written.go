package guard

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// written detects writes that reached a device while its file system was frozen. A frozen file system writes nothing,
// so another program must have thawed it. One that froze it again in time would otherwise go unnoticed, since our own
// FITHAW then succeeds. The counter is that of the sectors of completed writes (Documentation/block/stat.rst, field
// 7).
//
// The count of requests (field 5) does not work: it contains flushes, and the last ones of a FIFREEZE end after it.
// There is no counter if /sys/block/DEV/queue/iostats is 0, for further devices of a btrfs, or for a file system
// without a block device. A thaw and a freeze between which nothing was written are not noticed and do no harm: the
// data on disk is the same.
type written struct {
	files []*os.File // nil where the kernel counts nothing
	from  []int64
	to    []int64
}

// counterOf returns the counter's file for a file system's device, "" if there is none.
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

// openCounters opens the files before anything is frozen: reading one then takes microseconds and waits for nothing.
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

// between returns how many sectors were written between the two moments; 0 if that is not known.
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
