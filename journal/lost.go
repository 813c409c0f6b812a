package journal

import (
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A LostError says that a run's journal file was deleted, moved or replaced while the run was writing it: what it writes
// is at no path any more, so it cannot be resumed.
type LostError struct{ Path string }

func (e *LostError) Error() string {
	return fmt.Sprintf("journal %s was deleted or replaced while its run was in progress", e.Path)
}

// A handle is the file that bbolt opened, to compare it with the file at its path.
type handle struct {
	fileOptions fileOpener
	file        *os.File
	id          fileID
}

// A fileID names a file; no other file gets its number while it is open.
type fileID struct {
	major, minor uint32
	inode        uint64
}

// An opener is what bbolt opens its file with.
type fileOpener func(path string, flag int, mode os.FileMode) (*os.File, error)

// options are bbolt's, for a file that h is to have.
func (h *handle) options(readOnly bool) *bolt.Options {
	o := options(readOnly)
	o.OpenFile = h.open
	return o
}

func (h *handle) open(name string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := h.fileOptions(name, flag, mode)
	if err != nil {
		return nil, err
	}
	if h.id, err = identify(int(f.Fd()), "", unix.AT_EMPTY_PATH); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot check journal %s: %w", name, err)
	}
	h.file = f
	return f, nil
}

// lost reports whether path no longer leads to the open file. A link count alone would miss a directory that was renamed, and
// another file put in its place.
func (h *handle) lost(path string) error {
	if h.file == nil {
		return nil
	}
	if there, err := identify(unix.AT_FDCWD, path, 0); err != nil || there != h.id {
		return &LostError{Path: path}
	}
	return nil
}

// identify runs at every commit, so it does not ask the kernel for the file's times: once they were read, the next write
// gets a finer timestamp and marks the inode dirty again, which slows a chain of steps by 8 % (multigrain timestamps,
// Documentation/filesystems/multigrain-ts.rst, Linux 6.13 and later).
func identify(dir int, path string, flags int) (fileID, error) {
	var st unix.Statx_t
	err := unix.Statx(dir, path, flags, unix.STATX_INO, &st)
	return fileID{st.Dev_major, st.Dev_minor, st.Ino}, err
}
