package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unicode/utf8"
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
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
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
// could have written, or that sits in a folder where anybody may swap it:
// its hooks run with the rights of whoever runs Snaptastic.
func checkWriters(path string, info fs.FileInfo) error {
	if err := checkOwner(path, info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("refusing settings %s: others than its owner may write it (mode %04o), and its hooks run as %s; run: chmod go-w %s",
			path, mode, runsAs(), path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return cannotRead(path, err)
	}
	folder := filepath.Dir(real)
	dir, err := os.Stat(folder)
	if err != nil {
		return cannotRead(path, err)
	}
	if dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("refusing settings %s: anybody may replace files in its folder %s (mode %04o); run: chmod o-w %s",
			path, folder, dir.Mode().Perm(), folder)
	}
	return nil
}

func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("internal error: no owner known of %s", path)
	}
	if me := os.Geteuid(); stat.Uid != 0 && int64(stat.Uid) != int64(me) {
		return fmt.Errorf("refusing settings %s: it is owned by uid %d, and its hooks run as %s; run: chown %d %s",
			path, stat.Uid, runsAs(), me, path)
	}
	return nil
}

func runsAs() string {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Sprintf("uid %d", uid)
	}
	return "root"
}
