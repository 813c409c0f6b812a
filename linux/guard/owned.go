package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
)

// ownedFile names the file systems that a guard may have frozen. It is locked (flock) through one open file that
// parent and guard share, so the lock lasts as long as either of them. It is complete and on disk before the first
// freeze, and removed after the thaw.
type ownedFile struct {
	file *os.File
	path string
}

// ownedRecord is the JSON content of an ownedFile.
type ownedRecord struct {
	Schema  int          `json:"schema"`
	Run     string       `json:"run,omitempty"`
	Section string       `json:"section,omitempty"`
	Boot    string       `json:"boot"`
	Parent  identity     `json:"parent"`
	Guard   identity     `json:"guard"`
	Mounts  []ownedMount `json:"mounts"`
	// Deadline is when the freeze ends if the guard works, in nanoseconds of CLOCK_BOOTTIME, which includes suspended
	// time and ignores changes of the clock. Its length is constant, so that it can be overwritten in place. It is
	// noDeadline until the freeze starts.
	Deadline string `json:"deadline,omitempty"`
}

type ownedMount struct {
	Path string `json:"path"`
	Dev  string `json:"dev"`
}

const (
	ownedSchema = 1
	ownedSuffix = ".owned.json"
)

// createOwned makes an empty, locked file: empty means that nothing is frozen yet. The file gets its name only once
// it is locked, so a file with that name and a free lock has dead owners.
func createOwned(dir, run, section string) (*ownedFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the directory for freeze records: %w", err)
	}
	f, err := createLocked(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot write the freeze record %s: %w", dir, err)
	}
	born := f.Name()
	o := &ownedFile{file: f, path: filepath.Join(dir, fmt.Sprintf("%s-%s-%s%s", fileName(run), fileName(section), strings.TrimPrefix(filepath.Base(born), unnamedPrefix), ownedSuffix))}
	if err := os.Rename(born, o.path); err != nil {
		o.path = born
		o.drop()
		return nil, fmt.Errorf("cannot write the freeze record %s: %w", dir, err)
	}
	return o, nil
}

// unnamedPrefix starts the name of a file that may not be locked yet.
const unnamedPrefix = ".new-"

// createLocked makes and locks a temporary file. Leftovers of killed processes may be removed at any time, and so may
// this one until it is locked.
func createLocked(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, unnamedPrefix+"*") // 0600
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isCurrent(f, f.Name()) {
			return f, nil
		}
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			_ = os.Remove(f.Name())
			f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
		}
		f.Close() // cleared away between the two: once more
	}
}

// isCurrent reports whether the path still leads to the open file. Checked after locking, it tells that the file was
// not removed or replaced in between.
func isCurrent(f *os.File, path string) bool {
	ours, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(ours, there)
}

// removeUnnamed removes the temporary files of processes that were killed while they made an owned file.
func removeUnnamed(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, unnamedPrefix+"*"))
	for _, name := range names {
		f, err := openRegular(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && isCurrent(f, name) {
			_ = os.Remove(name)
		}
		f.Close()
	}
}

// openRegular opens a regular file of the program's own for reading: opening a FIFO or a device may block or have
// effects.
func openRegular(path string) (*os.File, error) {
	if fi, err := os.Lstat(path); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("refusing %s: it is not a regular file, so this program did not create it; remove it", path)
	}
	return linux.OpenOwned(path, os.O_RDONLY, 0)
}

// fileName replaces what is not safe in a file name.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, id)
}

const noDeadline = "00000000000000000000"

// begin writes the deadline of the freeze that starts now. No fsync: it matters only while this kernel runs.
func (o *ownedFile) begin(r ownedRecord, maxHold time.Duration) error {
	r.Deadline = fmt.Sprintf("%020d", sinceBoot()+maxHold.Nanoseconds())
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if _, err := o.file.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("cannot write the freeze deadline to %s: %w", o.path, err)
	}
	return nil
}

// overdue reports whether the freeze should have ended some time ago. A record without a deadline has started no
// freeze, or is of an older version.
func (r ownedRecord) overdue() bool {
	at := r.deadline()
	return at != 0 && sinceBoot() > at+overdueAfter.Nanoseconds()
}

func (r ownedRecord) deadline() int64 {
	at, err := strconv.ParseInt(r.Deadline, 10, 64)
	if err != nil {
		return 0
	}
	return at
}

// overdueAfter is what a guard may take to thaw after its deadline: it does so at once or never.
const overdueAfter = time.Second

// write syncs the record and the file's name to disk.
func (o *ownedFile) write(r ownedRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if _, err := o.file.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("cannot write the freeze record: %w", err)
	}
	if err := o.file.Sync(); err != nil {
		return fmt.Errorf("cannot write the freeze record: %w", err)
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

// readOwned opens and reads an owned file. free reports that neither parent nor guard holds its lock; then the caller
// holds it until it closes the file. A file without a readable record belongs to a process that was killed before any
// freeze.
func readOwned(path string) (f *os.File, r ownedRecord, free bool, err error) {
	f, err = openRegular(path)
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
	if !isCurrent(f, path) { // its owner has removed it between our open and our lock
		f.Close()
		return nil, r, false, fs.ErrNotExist
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
		return nil, r, false, fmt.Errorf("cannot read %s: it was written by a newer version (schema %d)", path, r.Schema)
	}
	return f, r, free, nil
}
