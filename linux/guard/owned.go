package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
)

// ownedFile names what a guard may have frozen. It is locked (flock) through one open file that parent and guard
// share, so that the lock lasts as long as either of them; it is complete and on disk before the first freeze; it is
// removed when all is thawed.
type ownedFile struct {
	file *os.File
	path string
}

// ownedRecord is its content, as JSON.
type ownedRecord struct {
	Schema  int          `json:"schema"`
	Run     string       `json:"run,omitempty"`
	Section string       `json:"section,omitempty"`
	Boot    string       `json:"boot"`
	Parent  identity     `json:"parent"`
	Guard   identity     `json:"guard"`
	Mounts  []ownedMount `json:"mounts"`
}

type ownedMount struct {
	Path string `json:"path"`
	Dev  string `json:"dev"`
}

const (
	ownedSchema = 1
	ownedSuffix = ".owned.json"
)

// createOwned makes an empty, locked file: empty means that nothing is frozen yet.
func createOwned(dir, run, section string) (*ownedFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of frozen file systems: %w", err)
	}
	name := fileName(run) + "-" + fileName(section) + "-*" + ownedSuffix
	f, err := os.CreateTemp(dir, name) // 0600
	if err != nil {
		return nil, fmt.Errorf("cannot name what is about to be frozen in %s: %w", dir, err)
	}
	o := &ownedFile{file: f, path: f.Name()}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		o.drop()
		return nil, fmt.Errorf("cannot lock %s: %w", o.path, err)
	}
	return o, nil
}

// fileName keeps of an id what is safe in a file's name.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, id)
}

// write puts the record on disk, and the file's name too.
func (o *ownedFile) write(r ownedRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if _, err := o.file.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("cannot name what is about to be frozen: %w", err)
	}
	if err := o.file.Sync(); err != nil {
		return fmt.Errorf("cannot name what is about to be frozen: %w", err)
	}
	return syncDir(filepath.Dir(o.path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// drop removes the file and its lock.
func (o *ownedFile) drop() {
	if o == nil {
		return
	}
	_ = os.Remove(o.path)
	o.file.Close()
}

// readOwned opens and reads an owned file. free says that neither parent nor guard holds its lock; the caller then
// holds it until it closes the file. A file without a readable record was killed in the making, before any freeze.
func readOwned(path string) (f *os.File, r ownedRecord, free bool, err error) {
	f, err = linux.OpenOwn(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, r, false, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		free = true
	case !errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, r, false, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		f.Close()
		return nil, r, false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if json.Unmarshal(b, &r) != nil {
		r = ownedRecord{}
	}
	if r.Schema > ownedSchema {
		f.Close()
		return nil, r, false, fmt.Errorf("cannot read %s: it is of a newer version of this program (schema %d)", path, r.Schema)
	}
	return f, r, free, nil
}
