package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"

	"snaptastic/linux"
)

// MaxBytes is the size that a settings file may have.
const MaxBytes = 1 << 20

// read gives the text of a settings file that only its owner, who is root or
// the running user, may write.
func read(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO put in the file's place must not hang a boot.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, cannotRead(path, err)
	}
	defer file.Close()
	info, err := file.Stat() // of the open file, so that no swap comes between look and read
	if err != nil {
		return nil, cannotRead(path, err)
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("cannot read settings %s: it is a directory; name a file", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("cannot read settings %s: it is not a regular file", path)
	case info.Size() > MaxBytes:
		return nil, tooLarge(path, info.Size())
	}
	if err := checkWriters(path, info); err != nil {
		return nil, err
	}
	src, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err != nil {
		return nil, cannotRead(path, err)
	}
	return src, checkText(path, src)
}

func cannotRead(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err // the path is said once
	}
	return fmt.Errorf("cannot read settings %s: %w", path, err)
}

func tooLarge(path string, size int64) error {
	return fmt.Errorf("cannot read settings %s: it has %d bytes, and a settings file has at most 1 MiB", path, size)
}

// checkText refuses what no settings file can be.
func checkText(path string, src []byte) error {
	if len(src) > MaxBytes {
		return tooLarge(path, int64(len(src)))
	}
	line := func(at int) int { return bytes.Count(src[:at], []byte("\n")) + 1 }
	if at := bytes.IndexByte(src, 0); at >= 0 {
		return fmt.Errorf("cannot read settings %s: line %d holds a NUL byte; it is not a text file", path, line(at))
	}
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Errorf("cannot read settings %s: line %d is not UTF-8", path, line(at))
		}
		at += size
	}
	return nil
}

// checkWriters refuses a file that others than root and the running user
// could have written, or could put another in the place of: its hooks run with
// the rights of whoever runs Snaptastic.
func checkWriters(path string, info fs.FileInfo) error {
	err := linux.CheckFile(path, info)
	var u *linux.UntrustedPath
	switch {
	case errors.As(err, &u) && u.Path == path:
		return fmt.Errorf("refusing settings %s: %s, and its hooks run as %s; run: %s", path, u.Reason, runsAs(), u.Fix)
	case errors.As(err, &u):
		return fmt.Errorf("refusing settings %s: %w", path, u)
	case err != nil:
		return cannotRead(path, err)
	}
	return nil
}

func runsAs() string {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Sprintf("uid %d", uid)
	}
	return "root"
}
