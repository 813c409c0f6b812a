package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openOwn opens a file of the state directory. Opening the store has checked
// that no other user may write the directory; a symlink, a pipe or a hard link
// in it is refused all the same, because its target would be written or
// trusted.
func openOwn(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if errors.Is(err, unix.ELOOP) {
		return nil, refusef(path, "a symbolic link")
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = refusef(path, "not a regular file")
	}
	if err == nil && fi.Sys().(*syscall.Stat_t).Nlink > 1 {
		err = refusef(path, "a hard link to a file with another name")
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// errRefused is about what a file is, and not about what is in it.
type errRefused string

func (e errRefused) Error() string { return string(e) }

func refusef(path, what string) error {
	return errRefused(fmt.Sprintf("refusing %s: it is %s; remove it", path, what))
}

// readOwn reads a whole file that openOwn accepts.
func readOwn(path string) ([]byte, error) {
	f, err := openOwn(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
