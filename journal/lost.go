package journal

import (
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// A LostError says that a run's journal file was deleted, moved or replaced while the run was writing it: what it writes
// is on no path any more, and nobody can resume from it.
type LostError struct{ Path string }

func (e *LostError) Error() string {
	return fmt.Sprintf("journal %s was deleted or replaced while its run was under way", e.Path)
}

// A handle is the file that bbolt opened, so that it can be compared with what its path leads to.
type handle struct {
	how  opener
	file *os.File
}

// An opener is what bbolt opens its file with.
type opener func(path string, flag int, mode os.FileMode) (*os.File, error)

// options are bbolt's, for a file that h is to have.
func (h *handle) options(readOnly bool) *bolt.Options {
	o := options(readOnly)
	o.OpenFile = h.open
	return o
}

func (h *handle) open(name string, flag int, mode os.FileMode) (f *os.File, err error) {
	h.file, err = h.how(name, flag, mode)
	return h.file, err
}

// lost says whether path no longer leads to the open file. A link count alone would miss a folder that was renamed, and
// another file put in its place.
func (h *handle) lost(path string) error {
	if h.file == nil {
		return nil
	}
	mine, err := h.file.Stat()
	if err != nil {
		return fmt.Errorf("cannot look at journal %s: %w", path, err)
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(mine, there) {
		return &LostError{Path: path}
	}
	return nil
}
