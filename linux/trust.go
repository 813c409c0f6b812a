package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// An UntrustedPath path is one that others than root and the running user may
// change: what it holds must not be run, and nothing be written through it.
type UntrustedPath struct {
	Path   string // what they may change: the path asked about, or a directory on the way to it
	Reason string // ends a sentence that began with what was asked about
	Fix    string // the command that helps
}

func (e *UntrustedPath) Error() string { return e.Reason + "; run: " + e.Fix }

// CheckFolder refuses a directory that others may write, or may put another one in
// the place of: it must be root's or the running user's and closed to the
// writing of others, and each directory on the way to it likewise, or sticky. What
// is not there yet is no obstacle. The error is an *Untrusted, or says what
// cannot be looked at.
func CheckFolder(path string) error { return walkTo(path, checkFolder) }

// CheckFile is CheckFolder for a file, which is open as fi has it.
func CheckFile(path string, fi fs.FileInfo) error {
	if err := checkFolder(path, fi); err != nil {
		return err
	}
	return walkTo(path, nil)
}

// OpenOwned opens a file of the program's own: a regular one, under no other
// name, of root or the running user. It follows no link.
func OpenOwned(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode) // a FIFO must not hold it up
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("refusing %s: it is a symbolic link", path)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = checkOwner(path, fi)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func checkOwner(path string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("refusing %s: it is not a regular file", path)
	}
	if reason, _ := othersMayWrite(fi); reason != "" {
		return fmt.Errorf("refusing %s: %s", path, reason)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return fmt.Errorf("refusing %s: it is a hard link to a file with another name", path)
	}
	return nil
}

// maxLinks is how many symbolic links are followed, as the kernel has it.
const maxLinks = 40

// walkTo looks at every directory from / to path, through symbolic links; at path
// itself with last, unless that is nil.
func walkTo(path string, last func(string, fs.FileInfo) error) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	at, rest, links := "/", strings.Split(strings.Trim(abs, "/"), "/"), 0
	for {
		fi, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		done := len(rest) == 0 || len(rest) == 1 && rest[0] == ""
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return fmt.Errorf("cannot follow %s: too many symbolic links", path)
			}
			if uid, ok := foreignOwner(fi); ok {
				return &UntrustedPath{at, fmt.Sprintf("the link %s is owned by uid %d", at, uid), "chown -h " + currentUser() + " " + at}
			}
			to, err := os.Readlink(at)
			if err != nil {
				return err
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(at), to)
			}
			at, rest = "/", append(strings.Split(strings.Trim(to, "/"), "/"), rest...)
			continue
		case done && last != nil:
			return last(at, fi)
		case done:
			return nil
		}
		if err := checkParent(at, fi); err != nil {
			return err
		}
		if rest[0] == ".." {
			at, rest = filepath.Dir(at), rest[1:]
			continue
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:]
	}
}

// checkParent: in a sticky directory only its owner and the owner of a file may
// replace the file.
func checkParent(path string, fi fs.FileInfo) error {
	if uid, ok := foreignOwner(fi); ok {
		return &UntrustedPath{path, fmt.Sprintf("its directory %s is owned by uid %d, who can replace it", path, uid), "chown " + currentUser() + " " + path}
	}
	mode := fi.Mode()
	switch {
	case mode&fs.ModeSticky != 0:
	case mode.Perm()&0o002 != 0:
		return &UntrustedPath{path, fmt.Sprintf("any user can replace files in its directory %s (mode %04o)", path, mode.Perm()), "chmod o-w " + path}
	case mode.Perm()&0o020 != 0:
		return &UntrustedPath{path, fmt.Sprintf("a group can replace files in its directory %s (mode %04o)", path, mode.Perm()), "chmod g-w " + path}
	}
	return nil
}

func checkFolder(path string, fi fs.FileInfo) error {
	if reason, fix := othersMayWrite(fi); reason != "" {
		return &UntrustedPath{path, reason, fix + " " + path}
	}
	return nil
}

// othersMayWrite says how others come to write the file or directory; "" if they do not.
func othersMayWrite(fi fs.FileInfo) (reason, fix string) {
	if uid, ok := foreignOwner(fi); ok {
		return fmt.Sprintf("it is owned by uid %d", uid), "chown " + currentUser()
	}
	if mode := fi.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Sprintf("users other than its owner can write to it (mode %04o)", mode), "chmod go-w"
	}
	return "", ""
}

// foreignOwner is the owner, when it is neither root nor the running user.
func foreignOwner(fi fs.FileInfo) (uid uint32, is bool) {
	st := fi.Sys().(*syscall.Stat_t)
	return st.Uid, st.Uid != 0 && int64(st.Uid) != int64(os.Geteuid())
}

func currentUser() string { return fmt.Sprint(os.Geteuid()) }
