package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const gib = 1 << 30

// path is the file of a volume or snapshot.
func (p *pool) path(id string) string { return filepath.Join(p.dir, id) }

// create makes an empty sparse file of size GiB.
func (p *pool) create(id string, size int) error {
	file, err := os.OpenFile(p.path(id), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the file of %s: %w", id, err)
	}
	if err := errors.Join(file.Truncate(int64(size)*gib), file.Close()); err != nil {
		return fmt.Errorf("cannot make the file of %s: %w", id, err)
	}
	return nil
}

// clone makes to a copy of from as it is at this moment, at least size GiB
// large.
//
// FICLONE locks the inode against every write, buffered or direct, writes its
// dirty pages out and only then shares the extents (xfs_reflink_remap_prep), so
// the copy holds all that the loop device has been handed. What still sits in
// the page cache of the device, or of a file system on it, is not in it, as on
// EBS: the caller freezes or syncs first.
func (p *pool) clone(to, from string, size int) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot copy %s to %s: %w", from, to, err) }
	source, err := os.Open(p.path(from))
	if err != nil {
		return fail(err)
	}
	defer source.Close()
	target, err := os.OpenFile(p.path(to), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err = errors.Join(err, target.Close()); err != nil {
			os.Remove(target.Name())
		}
	}()
	err = unix.IoctlFileClone(int(target.Fd()), int(source.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		err = copySparse(target, source) // FilesOnly, on a file system that cannot clone
	}
	if err != nil {
		return fail(err)
	}
	info, err := target.Stat()
	if err != nil {
		return fail(err)
	}
	if wanted := int64(size) * gib; info.Size() < wanted {
		if err := target.Truncate(wanted); err != nil {
			return fail(err)
		}
	}
	return nil
}

// copySparse copies the data of source and leaves its holes holes.
func copySparse(target, source *os.File) error {
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if err := target.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		data, err := unix.Seek(int(source.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // holes to the end
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(source.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		part := io.NewSectionReader(source, data, hole-data)
		if _, err := io.Copy(io.NewOffsetWriter(target, data), part); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

// grow makes the file of a volume at least size GiB large.
func (p *pool) grow(id string, size int) error {
	info, err := os.Stat(p.path(id))
	if err != nil {
		return fmt.Errorf("cannot grow the file of %s: %w", id, err)
	}
	if info.Size() >= int64(size)*gib {
		return nil
	}
	if err := os.Truncate(p.path(id), int64(size)*gib); err != nil {
		return fmt.Errorf("cannot grow the file of %s: %w", id, err)
	}
	return nil
}

// remove deletes a file; one that is not there is no error.
func (p *pool) remove(id string) error {
	if err := os.Remove(p.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the file of %s: %w", id, err)
	}
	return nil
}

// ids lists what the pool holds files of.
func (p *pool) ids() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the sandbox's files: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, "vol-") || strings.HasPrefix(name, "snap-") {
			ids = append(ids, name)
		}
	}
	return ids, nil
}
