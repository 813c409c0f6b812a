package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// pool is the folder that holds volume and snapshot files, on a file system
// that can clone a file (FICLONE): a snapshot must take no time, since its
// caller has frozen file systems. Where the sandbox's own folder cannot, the
// pool is an XFS image inside it.
type pool struct {
	dir       string // DIR/vol
	filesOnly bool
}

// poolSize is the image's apparent size: volumes are sparse inside a sparse
// image, so it only bounds the sum of what is written.
const poolSize = 1 << 40

func openPool(dir string, filesOnly bool) (*pool, error) {
	p := &pool{dir: filepath.Join(dir, "vol"), filesOnly: filesOnly}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	image := filepath.Join(dir, "pool.xfs")
	if filesOnly || !exists(image) && canClone(p.dir) {
		return p, nil
	}
	if mounted, err := isMountPoint(p.dir); err != nil || mounted {
		return p, err
	}
	if !exists(image) {
		if err := makeImage(image); err != nil {
			return nil, err
		}
	}
	// Direct I/O: the pool's files have their own page cache.
	device, err := loopAttach(image, loopOptions{DirectIO: true})
	if err != nil {
		return nil, err
	}
	// nouuid: another sandbox may be a copy of this folder.
	if err := unix.Mount(device, p.dir, "xfs", unix.MS_NOATIME, "nouuid"); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot mount %s on %s: %w", image, p.dir, err), closePool(dir))
	}
	return p, nil
}

func makeImage(image string) error {
	temporary := image + ".tmp"
	defer os.Remove(temporary)
	file, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(poolSize), file.Close()); err != nil {
		return fmt.Errorf("cannot make a sparse file of 1 TiB in %s: %w", filepath.Dir(image), err)
	}
	// -K: no discard of what is sparse already; a small log, since it is written out.
	mkfs := exec.Command("mkfs.xfs", "-q", "-K", "-m", "reflink=1,rmapbt=0", "-l", "size=64m", temporary)
	if output, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("snapshots need a file system that clones files, and mkfs.xfs (package xfsprogs) failed: %w: %s",
			err, strings.TrimSpace(string(output)))
	}
	return os.Rename(temporary, image)
}

// canClone tries a clone in dir.
func canClone(dir string) bool {
	from, err := os.CreateTemp(dir, ".probe")
	if err != nil {
		return false
	}
	defer os.Remove(from.Name())
	defer from.Close()
	to, err := os.CreateTemp(dir, ".probe")
	if err != nil {
		return false
	}
	defer os.Remove(to.Name())
	defer to.Close()
	if _, err := from.Write(make([]byte, 4096)); err != nil {
		return false
	}
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}

// isMountPoint compares devices: the pool is always a separate file system.
func isMountPoint(dir string) (bool, error) {
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		return false, fmt.Errorf("cannot check %s: %w", dir, err)
	}
	return here.Dev != above.Dev, nil
}
