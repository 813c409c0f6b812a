package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir locks the folder for a transaction. Only Open may create the lock file: for others, a missing lock file, or
// one that was removed while they waited, means that the sandbox was reset.
func lockDir(dir string, create int) (unlock func(), err error) {
	path := filepath.Join(dir, "lock")
	file, err := os.OpenFile(path, os.O_RDWR|create, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errReset
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	if !sameFile(file, path) {
		file.Close()
		return nil, errReset
	}
	return func() { file.Close() }, nil
}

func sameFile(file *os.File, path string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(path)
	return err == nil && os.SameFile(ours, current)
}
