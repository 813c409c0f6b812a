package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How a device is read: up to so much at once, and so many reads at a time. EBS fetches a block of a snapshot in tens of
// milliseconds, whatever else it fetches meanwhile. https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
const (
	warmPiece = 1 << 20
	WarmDepth = 32
)

// WarmRequest asks that what is in use of a mounted file system be read once from its device.
type WarmRequest struct {
	Target     string   // the mount point
	Device     string   // node of what is mounted there, a partition's where it is one
	FileSystem string   // as the kernel names it
	Globs      []string // what is read first, in this order; the rest follows
	Rate       int64    // bytes a second; 0 for no limit
	From       WarmMark // where an earlier reading stopped
	// Progress is told every hundredth and every second, at the end of each priority, and when the reading stops; by one goroutine at a time.
	Progress func(WarmProgress)
	depth    int // reads at a time; WarmDepth where 0
}

// A WarmMark is how far a reading has come: what is more important than Priority is read, and of that one what lies before Offset.
type WarmMark struct {
	Priority int   `json:"priority"`
	Offset   int64 `json:"offset"`
	Read     int64 `json:"read"` // bytes in all, what was read twice included
}

// WarmProgress is how far a reading is, in bytes. InUse is estimated from the file system's own count as long as not everything was found.
type WarmProgress struct {
	WarmMark
	Done, InUse int64
	Rate        float64 // bytes a second, of this reading
}

// Warmed is what was read, in bytes.
type Warmed struct {
	InUse int64    // what files have on the device
	Read  int64    // in all, earlier readings of the same included
	Empty []string // globs that no data matches
}

// ErrCannotWarm: the file system does not tell where its files lie.
var ErrCannotWarm = errNoExtents

// Warm reads what files have on the device once, around the page cache (O_DIRECT), in the order of their importance and then of
// their place on the device, at idle I/O priority. What is free is not read, and neither is what was allocated and never written.
// The addresses of btrfs are not those of a device: it is read through its files. It holds nothing open on the mount but
// what it reads at the moment, and returns soon after the context ends, with its cause.
func (h *Host) Warm(ctx context.Context, q WarmRequest) (Warmed, error) {
	out, err := warm(ctx, q)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("cannot read %s: %w", q.Target, err)
	}
	return out, err
}

func warm(ctx context.Context, q WarmRequest) (out Warmed, err error) {
	root, err := unix.Open(q.Target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if err != nil {
		return out, err
	}
	defer unix.Close(root)
	r := reading{q: q, root: root, mark: q.From, began: time.Now(), block: pageSize}
	if r.throughFiles = q.FileSystem == "btrfs"; !r.throughFiles {
		if err := r.openDevice(); err != nil {
			return out, err
		}
		defer r.device.Close()
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(root, &st); err != nil {
		return out, err
	}
	r.inUse = int64(st.Blocks-st.Bfree) * int64(st.Bsize)
	defer func() { r.tell() }()
	var seen []dataExtent // of what is more important
	var all int64         // bytes of what was found
	for p := range len(q.Globs) + 1 {
		w := fileWalk{root: root, path: q.Target, files: r.throughFiles}
		if p < len(q.Globs) {
			w.glob = strings.Split(q.Globs[p], "/")
		}
		found, err := w.extents(ctx)
		if err != nil {
			return r.warmed(), err
		}
		if len(found) == 0 && p < len(q.Globs) {
			r.empty = append(r.empty, q.Globs[p])
		}
		found = withoutExtents(mergeExtents(found), seen)
		seen = mergeExtents(append(seen, found...))
		if all += bytesIn(found); p == len(q.Globs) {
			r.inUse = all
		}
		if err := r.priority(ctx, p, found); err != nil {
			return r.warmed(), err
		}
	}
	return r.warmed(), nil
}

// A reading is one use of Warm.
type reading struct {
	q            WarmRequest
	root         int
	device       *os.File
	size         int64 // of the device
	block        int64 // what offsets and lengths are a multiple of
	throughFiles bool
	began        time.Time

	mu       sync.Mutex
	left     []dataExtent  // of the priority under way
	underWay map[int64]int // start of pieces being read
	next     time.Time     // when the rate allows the next piece
	mark     WarmMark
	read     int64 // by this reading
	done     int64 // as far as the progress is concerned: what an earlier reading did included
	inUse    int64
	told     int64 // done when it was last told
	toldAt   time.Time
	err      error
	empty    []string // globs
}

func (r *reading) warmed() Warmed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Warmed{InUse: r.inUse, Read: r.mark.Read, Empty: r.empty}
}

// openDevice opens the device around the page cache, without claiming it.
func (r *reading) openDevice() (err error) {
	if r.device, err = os.OpenFile(r.q.Device, os.O_RDONLY|unix.O_DIRECT, 0); err != nil {
		return err
	}
	if r.size, err = sizeOf(r.device); err != nil {
		r.device.Close()
		return err
	}
	if block, err := unix.IoctlGetInt(int(r.device.Fd()), unix.BLKSSZGET); err == nil && block > 0 {
		r.block = int64(block)
	}
	return nil
}

// priority reads what is of one importance; all is read, or was, when it returns nil.
func (r *reading) priority(ctx context.Context, p int, list []dataExtent) error {
	whole := bytesIn(list)
	switch {
	case p < r.q.From.Priority:
		list = nil
	case p == r.q.From.Priority:
		list = extentsFrom(list, r.q.From.Offset)
	}
	r.done += whole - bytesIn(list)
	if p > r.mark.Priority {
		r.mark.Priority, r.mark.Offset = p, 0
	}
	r.left, r.underWay = list, map[int64]int{}
	var all sync.WaitGroup
	for range cmp.Or(r.q.depth, WarmDepth) {
		all.Go(func() { r.work(ctx) })
	}
	all.Wait()
	if r.err == nil && len(r.left) == 0 && p >= r.mark.Priority {
		r.mark.Priority, r.mark.Offset = p+1, 0
		r.tell()
	}
	return r.err
}

// work reads pieces until none is left.
func (r *reading) work(ctx context.Context) {
	idleThread()
	buffer, err := unix.Mmap(-1, 0, warmPiece+2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		r.stop(err)
		return
	}
	defer unix.Munmap(buffer)
	for {
		piece, wait, ok := r.take(ctx)
		if !ok {
			return
		}
		if wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else {
			err = r.readPiece(piece, buffer)
		}
		r.finished(piece, err)
	}
}

// take gives the next piece, and how long the rate has it wait.
func (r *reading) take(ctx context.Context) (piece dataExtent, wait time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil && r.err == nil && len(r.left) > 0 {
		r.err = context.Cause(ctx)
	}
	if r.err != nil || len(r.left) == 0 {
		return piece, 0, false
	}
	piece, r.left = takePiece(r.left, warmPiece)
	r.underWay[piece.start]++
	if r.q.Rate > 0 {
		now := time.Now()
		if r.next.Before(now) {
			r.next = now
		}
		wait = r.next.Sub(now)
		r.next = r.next.Add(time.Duration(float64(piece.length) / float64(r.q.Rate) * float64(time.Second)))
	}
	return piece, wait, true
}

// finished notes what became of a piece, and moves the mark to where everything before it is read.
func (r *reading) finished(piece dataExtent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return // it stays under way: the mark must not pass it
	}
	delete(r.underWay, piece.start)
	r.read, r.done, r.mark.Read = r.read+piece.length, r.done+piece.length, r.mark.Read+piece.length
	first := piece.end()
	if len(r.left) > 0 {
		first = r.left[0].start
	}
	for start := range r.underWay {
		first = min(first, start)
	}
	r.mark.Offset = max(r.mark.Offset, first)
	if r.done-r.told >= max(r.inUse/100, 1) || time.Since(r.toldAt) >= time.Second {
		r.tellLocked()
	}
}

func (r *reading) stop(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *reading) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellLocked()
}

func (r *reading) tellLocked() {
	r.told, r.toldAt = r.done, time.Now()
	if r.q.Progress != nil {
		r.q.Progress(WarmProgress{WarmMark: r.mark, Done: min(r.done, r.inUse), InUse: r.inUse, Rate: float64(r.read) / max(time.Since(r.began).Seconds(), 1e-3)})
	}
}

const pageSize = 4096

// readPiece reads a piece from where it is; the data is dropped.
func (r *reading) readPiece(e dataExtent, buffer []byte) error {
	if e.file != "" {
		return r.readFile(e, buffer)
	}
	from := e.start - e.start%r.block
	to := min(roundUp(e.end(), r.block), r.size)
	for from < to { // the file system may be smaller than its device, never larger
		n, err := unix.Pread(int(r.device.Fd()), buffer[:to-from], from)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("at byte %d of %s: %w", from, r.q.Device, err)
		}
		if n == 0 {
			return nil
		}
		from += int64(n)
	}
	return nil
}

// readFile reads a piece through its file. One that is gone, or shorter by now, needs no reading. What the file system cannot read around
// the page cache, such as compressed data, is dropped from it afterwards.
func (r *reading) readFile(e dataExtent, buffer []byte) error {
	fd, err := openBeneath(r.root, e.file, unix.O_NONBLOCK|unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) {
		fd, err = openBeneath(r.root, e.file, unix.O_NONBLOCK)
	}
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	from := e.at - e.at%pageSize
	to := roundUp(e.at+e.length, pageSize)
	defer unix.Fadvise(fd, from, to-from, unix.FADV_DONTNEED)
	for from < to {
		n, err := unix.Pread(fd, buffer[:to-from], from)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("at byte %d of %s: %w", from, filepath.Join(r.q.Target, e.file), err)
		}
		if n <= 0 || n%pageSize != 0 { // the end of the file
			return nil
		}
		from += int64(n)
	}
	return nil
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// idleThread gives the goroutine a thread of its own, which ends with it, at idle I/O priority: schedulers that know priorities serve
// it when nobody else wants the device.
func idleThread() {
	runtime.LockOSThread()
	idleIO()
}
