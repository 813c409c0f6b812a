package journal

import (
	"errors"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// reserveSize holds the journal of a mount of some forty volumes.
const reserveSize = 2 << 20

// The reserve is an empty journal file whose blocks are already allocated. On a full disk a run uses it as its journal,
// because attached volumes must be mounted at boot all the same. It is in the directory of the runs, so renaming it needs
// neither a block nor an inode.
func (s *Store) reserve() string { return filepath.Join(s.dir, "runs", ".reserve") }

// KeepReserve creates the reserve if it is missing. It is called after a run, so that a boot does not wait for it.
func (s *Store) KeepReserve() error {
	if _, err := os.Lstat(s.reserve()); err == nil {
		return nil
	}
	tmp := s.reserve() + ".new"
	err := writeReserve(tmp)
	if err == nil {
		err = os.Rename(tmp, s.reserve())
	}
	if err != nil {
		_ = os.Remove(tmp) // leave the remaining space to others
		return err
	}
	return syncDir(s.reserve())
}

func writeReserve(path string) error {
	_ = os.Remove(path)
	db, err := bolt.Open(path, 0o600, (&handle{fileOptions: createNew}).options(false))
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	f, err := openOwn(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	// Written, not fallocated: a first write to a preallocated block may need room for the file's extents.
	if _, err := f.Write(make([]byte, max(0, reserveSize-fi.Size()))); err != nil {
		return err
	}
	return f.Sync()
}

// createAnyway creates a run's journal, from the reserve if the disk is full.
func (s *Store) createAnyway(m Meta, p *plan.Plan) (*Journal, error) {
	path := s.path(m.Run, ".db")
	_ = os.Remove(path + ".new")
	j, err := create(path, m, p, createNew)
	if errors.Is(err, os.ErrNotExist) { // another process removed the file before it was locked
		j, err = create(path, m, p, createNew)
	}
	if !IsDiskFull(err) || os.Rename(s.reserve(), path+".new") != nil {
		return j, err
	}
	return create(path, m, p, openReserved)
}

// IsDiskFull: the disk of the state directory is full, out of inodes, over a quota, or read-only.
func IsDiskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}
