package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// walkers is how many directories and files are looked at at once: on a cold volume each is a wait for the device.
const walkers = 32

// A fileWalk finds the extents of the files below a mount point. It stays on that mount, follows no symlink and leaves access times
// alone. Reading directories and inodes brings them into the page cache, as any use of the file system would.
type fileWalk struct {
	root  int // descriptor of the mount point
	path  string
	glob  []string // words of a pattern between slashes; nil for every file
	files bool     // what is found is read through the files

	mu    sync.Mutex
	more  *sync.Cond
	todo  []walkTask
	busy  int // directories under way
	err   error
	found []dataExtent
}

// A walkTask is a directory to be read, or some files of one to be asked for: each of them may be a wait for the device, too.
type walkTask struct {
	dir   string // below the root
	files []string
}

// filesAtOnce is how many files one walker takes.
const filesAtOnce = 2

// errNoExtents: the file system does not tell where its files lie.
var errNoExtents = errors.New("the file system does not report the extents of its files (FIEMAP)")

// extents walks, and returns what it found in no order. What cannot be opened, or vanishes meanwhile, is passed over.
func (w *fileWalk) extents(ctx context.Context) ([]dataExtent, error) {
	w.todo, w.more = []walkTask{{dir: "."}}, sync.NewCond(&w.mu)
	defer context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })()
	var all sync.WaitGroup
	for range walkers {
		all.Go(func() {
			idleThread()
			var b fiemapBatch
			for {
				task, ok := w.next()
				if !ok {
					return
				}
				w.done(w.perform(task, &b))
			}
		})
	}
	all.Wait()
	return w.found, w.err
}

func (w *fileWalk) next() (task walkTask, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.todo) == 0 && w.busy > 0 {
		w.more.Wait()
	}
	if w.err != nil || len(w.todo) == 0 {
		return task, false
	}
	last := len(w.todo) - 1
	task, w.todo = w.todo[last], w.todo[:last]
	w.busy++
	return task, true
}

// add gives other walkers something to do. It says whether the walk goes on.
func (w *fileWalk) add(task walkTask) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.todo = append(w.todo, task)
	w.more.Signal()
	return w.err == nil
}

func (w *fileWalk) done(found []dataExtent, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.found = append(w.found, found...)
	if w.err == nil {
		w.err = err
	}
	w.more.Broadcast()
}

func (w *fileWalk) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.more.Broadcast()
}

// perform reads a directory, or asks for the extents of files.
func (w *fileWalk) perform(task walkTask, b *fiemapBatch) (found []dataExtent, err error) {
	if task.files == nil {
		return nil, w.directory(task.dir)
	}
	for _, name := range task.files {
		if found, err = w.file(name, b, found); err != nil {
			return found, err
		}
	}
	return found, nil
}

// directory adds what is in a directory to what is to be done.
func (w *fileWalk) directory(dir string) error {
	fd, err := openBeneath(w.root, dir, unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	d := os.NewFile(uintptr(fd), filepath.Join(w.path, dir))
	defer d.Close()
	for {
		entries, err := d.ReadDir(1000)
		var files []string
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			switch {
			case e.IsDir() && matchesBelow(w.glob, strings.Split(name, "/")):
				w.add(walkTask{dir: name})
			case e.Type() == 0 && (w.glob == nil || matchesGlob(w.glob, strings.Split(name, "/"))):
				files = append(files, name)
			}
		}
		for len(files) > 0 {
			n := min(len(files), filesAtOnce)
			if !w.add(walkTask{files: files[:n:n]}) {
				return nil
			}
			files = files[n:]
		}
		if err == io.EOF || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", d.Name(), err)
		}
	}
}

// file adds the extents of one file.
func (w *fileWalk) file(name string, b *fiemapBatch, found []dataExtent) ([]dataExtent, error) {
	fd, err := openBeneath(w.root, name, unix.O_NONBLOCK) // it must not wait for a lease
	if err != nil {
		return found, nil
	}
	defer unix.Close(fd)
	err = b.extentsOf(fd, func(physical, length, logical int64, throughFile bool) {
		e := dataExtent{start: physical, length: length, encoded: throughFile}
		if w.files || throughFile {
			e.file, e.at = name, logical
		}
		found = append(found, e)
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return found, errNoExtents
	}
	return found, nil
}

// openBeneath opens what lies below a mount point for reading, never on another mount and never through a symlink.
func openBeneath(root int, name string, flags uint64) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC
	for {
		fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV})
		if errors.Is(err, unix.ENOSYS) { // Linux before 5.6
			return openOnDevice(root, name, flags)
		}
		if !errors.Is(err, unix.EAGAIN) || flags&unix.O_NONBLOCK != 0 { // something is renamed just now, or a lease is held
			return fd, err
		}
	}
}

// openOnDevice is openBeneath for kernels that do not have openat2: another device number is another mount.
func openOnDevice(root int, name string, flags uint64) (int, error) {
	var top, here unix.Stat_t
	if err := unix.Fstatat(root, name, &here, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	if err := unix.Fstat(root, &top); err != nil {
		return -1, err
	}
	if top.Dev != here.Dev {
		return -1, unix.EXDEV
	}
	return unix.Openat(root, name, int(flags), 0)
}

// CheckGlob refuses a pattern that cannot match: it is relative to the mount point, `*` and `?` stay within a directory, and `**` is any
// number of directories.
func CheckGlob(pattern string) error {
	if pattern == "" || pattern == "." || strings.HasPrefix(pattern, "/") || path.Clean(pattern) != pattern || pattern == ".." || strings.HasPrefix(pattern, "../") {
		return errors.New("it must be relative to the mount point, without `.` and `..`")
	}
	for _, word := range strings.Split(pattern, "/") {
		if strings.Contains(word, "**") && word != "**" {
			return fmt.Errorf("in %q, `**` must stand alone between slashes, as in `base/**/*.ibd`", word)
		}
		if _, err := path.Match(word, ""); err != nil {
			return fmt.Errorf("it has a mistake in %q: %w", word, err)
		}
	}
	return nil
}

// matchesGlob reports whether a path matches a pattern; both are split at their slashes. It takes at most the product of both
// lengths: where a later word does not match, only the last `**` takes more.
func matchesGlob(glob, name []string) bool {
	var again, rest []string // what follows the last `**`, and what of the path it has not taken
	for len(name) > 0 {
		if len(glob) > 0 && glob[0] == "**" {
			if glob = glob[1:]; len(glob) == 0 {
				return true
			}
			again, rest = glob, name
			continue
		}
		if len(glob) > 0 {
			if ok, _ := path.Match(glob[0], name[0]); ok {
				glob, name = glob[1:], name[1:]
				continue
			}
		}
		if len(rest) == 0 {
			return false
		}
		rest = rest[1:]
		glob, name = again, rest
	}
	return len(glob) == 0
}

// matchesBelow reports whether a directory may have something below it that matches.
func matchesBelow(glob, dir []string) bool {
	for i, word := range dir {
		if glob == nil {
			return true
		}
		if i >= len(glob)-1 && !(i < len(glob) && glob[i] == "**") {
			return false
		}
		if glob[i] == "**" {
			return true
		}
		if ok, _ := path.Match(glob[i], word); !ok {
			return false
		}
	}
	return true
}
