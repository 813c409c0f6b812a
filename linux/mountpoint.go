package linux

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// systemPaths are those over which a mounted volume would hide the running system. What lies below the first three
// belongs to the kernel as well.
var systemPaths = []string{"/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot"}

// SystemPaths are the directories on which no volume may be mounted.
func SystemPaths() []string { return slices.Clone(systemPaths) }

// IsSystemPath reports whether a volume mounted at the path, which must be clean, would hide a part of the running system.
// Where /bin is a symlink to /usr/bin, both are.
func IsSystemPath(clean string) bool {
	for i, p := range systemPaths {
		if clean == p || i < 3 && isUnder(clean, p) {
			return true
		}
		if leads, err := filepath.EvalSymlinks(p); err == nil && clean == leads {
			return true
		}
	}
	return clean == "/"
}

// ErrUntrustedLink: a symlink on the way to a mount point could have been placed by another user than root and the running one.
var ErrUntrustedLink = errors.New("symlink that another user may have created")

// ErrSystemPath: a volume mounted there would hide part of the running system.
var ErrSystemPath = errors.New("a volume mounted there would hide part of the running system")

// ResolveMountPoint says which directory a mount point leads to: every symlink is followed, and what does not exist yet is
// kept as it is written. ErrUntrustedLink and ErrSystemPath for one at which nothing must be mounted.
func ResolveMountPoint(mountPoint string) (string, error) {
	w, err := walk(mountPoint, walkOptions{distrust: true})
	if err != nil {
		return "", err
	}
	defer w.close()
	return w.path(), refuseSystemPath(mountPoint, w.path())
}

// LeadsTo is ResolveMountPoint for looking only: nothing is refused, and what cannot be followed is kept as it is written.
func LeadsTo(mountPoint string) string {
	w, err := walk(mountPoint, walkOptions{})
	if err != nil {
		return filepath.Clean(mountPoint)
	}
	defer w.close()
	return w.path()
}

func refuseSystemPath(asked, leads string) error {
	switch {
	case !IsSystemPath(leads):
		return nil
	case leads == filepath.Clean(asked):
		return fmt.Errorf("%s: %w", leads, ErrSystemPath)
	}
	return fmt.Errorf("%s resolves to %s: %w", asked, leads, ErrSystemPath)
}

// maxMountLinks is how many symlinks are followed: the kernel's own limit (path_resolution(7)).
const maxMountLinks = 40

// walkOptions say how to follow a path.
type walkOptions struct {
	distrust bool // refuse symlinks that another user may have placed
	create   bool // make directories that are missing, with mode 0755 whatever the umask is
}

// walked is a path that was followed one component after the other, each opened below the one before it, so that nobody
// can swap one for a symlink between the look at it and its use. (openat2 with RESOLVE_NO_SYMLINKS does that for paths
// without any symlink; here it matters whose symlink it is.)
type walked struct {
	folders []folder // from the root on; the last is where the path leads to, as far as it exists
	missing []string // components below it that do not exist, or that could not be looked at
	absent  error    // why: fs.ErrNotExist, or the error of a file system whose device is gone
	made    []string // directories that the walk made, outermost first
	links   int
}

// folder is one component.
type folder struct {
	name   string
	fd     int
	others string // who else may change what is in it, in words; "" for nobody
}

func (w *walked) close() {
	for _, f := range w.folders {
		unix.Close(f.fd)
	}
}

// last is the innermost directory that exists.
func (w *walked) last() folder { return w.folders[len(w.folders)-1] }

// existing is its path.
func (w *walked) existing() string {
	var names []string
	for _, f := range w.folders {
		names = append(names, f.name)
	}
	return filepath.Join(names...)
}

// path is where the whole path leads to.
func (w *walked) path() string { return filepath.Join(w.existing(), filepath.Join(w.missing...)) }

// walk follows an absolute path. The caller closes what it returns. made is returned with an error as well.
func walk(asked string, o walkOptions) (w *walked, err error) {
	if !filepath.IsAbs(asked) {
		return nil, fmt.Errorf("mount point %q is not an absolute path", asked)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /: %w", err)
	}
	w = &walked{folders: []folder{{name: "/", fd: root}}}
	names := strings.Split(filepath.Clean(asked), "/")
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		switch {
		case name == "" || name == ".":
			continue
		case name == "..":
			w.up()
			continue
		case w.absent != nil: // nothing is below what is not there
			w.missing = append(w.missing, name)
			continue
		}
		target, err := w.into(name, o)
		if err != nil {
			w.close()
			return w, err
		}
		if filepath.IsAbs(target) {
			w.toRoot()
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return w, nil
}

// up goes to the parent of where the walk is, as the kernel does: after a symlink, that of its target.
func (w *walked) up() {
	if n := len(w.missing); n > 0 {
		w.missing = w.missing[:n-1]
		if n == 1 {
			w.absent = nil
		}
		return
	}
	if n := len(w.folders); n > 1 {
		unix.Close(w.folders[n-1].fd)
		w.folders = w.folders[:n-1]
	}
}

func (w *walked) toRoot() {
	for len(w.folders) > 1 {
		w.up()
	}
}

// into opens one component. Of a symlink it returns the target, and stays where it is.
func (w *walked) into(name string, o walkOptions) (target string, err error) {
	in := w.last()
	whole := filepath.Join(w.existing(), name)
	fd, err := w.open(in, name, whole, o)
	if isGone(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && !o.distrust {
		w.absent, w.missing = err, []string{name}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); isGone(err) { // the root of a mount whose device is gone still opens
		w.folders = append(w.folders, folder{name: name, fd: fd, others: in.others})
		return "", nil
	} else if err != nil {
		unix.Close(fd)
		return "", fmt.Errorf("cannot check %s: %w", whole, err)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR || kind != unix.S_IFLNK && !o.distrust: // who only looks may look at a file
		w.folders = append(w.folders, folder{name: name, fd: fd, others: cmp.Or(in.others, othersMayChange(whole, &st))})
		return "", nil
	case kind == unix.S_IFLNK:
		defer unix.Close(fd)
		return w.follow(fd, whole, &st, in, o)
	}
	unix.Close(fd)
	return "", fmt.Errorf("%s is not a directory", whole)
}

// open opens a component without following it, and makes it where that is asked for.
func (w *walked) open(in folder, name, whole string, o walkOptions) (int, error) {
	const how = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(in.fd, name, how, 0)
	if !errors.Is(err, fs.ErrNotExist) || !o.create {
		return fd, pathError("open", whole, err)
	}
	err = unix.Mkdirat(in.fd, name, newFolderMode)
	if err != nil && !errors.Is(err, fs.ErrExist) { // another lane may make a shared parent
		return -1, pathError("mkdir", whole, err)
	}
	if err == nil {
		w.made = append(w.made, whole)
		if err := chmodFolder(in.fd, name, newFolderMode); err != nil {
			return -1, pathError("chmod", whole, err)
		}
	}
	fd, err = unix.Openat(in.fd, name, how, 0)
	return fd, pathError("open", whole, err)
}

// chmodFolder gives a directory the mode that the umask took bits of, through a descriptor: whatever has its name by then, no
// symlink is followed.
func chmodFolder(in int, name string, mode uint32) error {
	fd, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, mode)
}

// newFolderMode is that of every directory made for a mount point.
const newFolderMode = 0o755

// follow reads a symlink that was opened.
func (w *walked) follow(fd int, whole string, st *unix.Stat_t, in folder, o walkOptions) (string, error) {
	if w.links++; w.links > maxMountLinks {
		return "", pathError("follow", whole, unix.ELOOP)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", pathError("readlink", whole, err)
	}
	target := string(buf[:n])
	who := in.others
	if !trusted(st.Uid) {
		who = "user " + userName(st.Uid)
	}
	if o.distrust && who != "" {
		return "", fmt.Errorf("%s is a symlink to %s, and %s may have created it: %w", whole, target, who, ErrUntrustedLink)
	}
	return target, nil
}

// isGone: the file system's device answers no more.
func isGone(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ESHUTDOWN) || errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.ENOTCONN)
}

func pathError(op, whole string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: whole, Err: err}
}

// trusted: what root and the running user do here is the operator's own doing.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// othersMayChange says who else may put a symlink into a directory, or swap one for another. In a sticky directory such as /tmp
// each entry is its owner's.
func othersMayChange(whole string, st *unix.Stat_t) string {
	switch {
	case !trusted(st.Uid):
		return "user " + userName(st.Uid) + " (who owns " + whole + ")"
	case st.Mode&unix.S_ISVTX != 0:
		return ""
	case st.Mode&0o002 != 0:
		return "any user (who can write to " + whole + ")"
	case st.Mode&0o020 != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid():
		return fmt.Sprintf("a member of the group %d (which can write to %s)", st.Gid, whole)
	}
	return ""
}

func userName(uid uint32) string {
	id := strconv.Itoa(int(uid))
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
