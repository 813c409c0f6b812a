package linux

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// RootAttributes are the owner, group and mode of the root directory of a new file system; "" leaves what mkfs makes: root,
// root, 0755.
type RootAttributes struct{ Owner, Group, Mode string } // names or numbers; octal

// rootIDs are RootAttributes as the kernel takes them; -1 leaves what is there.
type rootIDs struct{ uid, gid, mode int }

// resolve looks users and groups up on this machine.
func (r RootAttributes) resolve() (rootIDs, error) {
	ids := rootIDs{-1, -1, -1}
	var err error
	if ids.uid, err = idOf(r.Owner, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("user %q does not exist: create it, or use a numeric id", name)
		}
		return u.Uid, nil
	}); err != nil {
		return ids, err
	}
	if ids.gid, err = idOf(r.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", fmt.Errorf("group %q does not exist: create it, or use a numeric id", name)
		}
		return g.Gid, nil
	}); err != nil {
		return ids, err
	}
	if r.Mode != "" {
		mode, err := strconv.ParseUint(r.Mode, 8, 12)
		if err != nil {
			return ids, fmt.Errorf("%q is not an octal mode such as 0750", r.Mode)
		}
		ids.mode = int(mode)
	}
	return ids, nil
}

func idOf(name string, lookup func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), nil
	}
	number, err := lookup(name)
	if err != nil {
		return -1, err
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return int(n), err
}

// setRoot gives the root directory of a file system that is not mounted its attributes. The mount is attached nowhere (Linux
// 5.2, fsmount(2)): nobody sees it, and it is gone with this process, however that ends.
func setRoot(device, fileSystem string, ids rootIDs) error {
	if ids == (rootIDs{-1, -1, -1}) {
		return nil
	}
	fd, err := mountNowhere(device, fileSystem)
	if errors.Is(err, unix.ENOSYS) {
		return errors.New("owner, group and mode need Linux 5.2: remove them and use a post_mount hook")
	}
	if err != nil {
		return fmt.Errorf("cannot open the new file system: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, ids.uid, ids.gid); err != nil {
		return fmt.Errorf("cannot change the owner of its root directory to %d:%d: %w", ids.uid, ids.gid, err)
	}
	if ids.mode < 0 {
		return nil
	}
	if err := unix.Fchmod(fd, uint32(ids.mode)); err != nil { // after chown, which takes setgid away
		return fmt.Errorf("cannot change the mode of its root directory to %04o: %w", ids.mode, err)
	}
	return nil
}

// mountNowhere returns an open descriptor of the root of a file system.
func mountNowhere(device, fileSystem string) (int, error) {
	fs, err := unix.Fsopen(fileSystem, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", device); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(mount)
	return unix.Openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
