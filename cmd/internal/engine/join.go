package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialWait = time.Second
	// askWait bounds a question that is asked once. A run inside a freeze window answers after it.
	askWait = 2 * time.Second
)

// errUntrustedSocket: whoever made the socket is neither root nor the user who asks.
var errUntrustedSocket = errors.New("refusing the status socket")

// join connects to a live run.
func join(path string) (*net.UnixConn, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("%w %s: it is not a socket", errUntrustedSocket, path)
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := net.DialTimeout("unix", short, dialWait)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UnixConn)
	if uid, err := peer(conn); err != nil || uid != 0 && uid != uint32(os.Geteuid()) {
		_ = conn.Close()
		return nil, errors.Join(fmt.Errorf("%w %s: user %d answers on it, not root", errUntrustedSocket, path, uid), err)
	}
	return conn, nil
}

// peer is the user whose process made the other end (SO_PEERCRED, unix(7)).
func peer(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			uid = cred.Uid
		}
	})
	return uid, errors.Join(err, failed)
}

// askStatus asks a live run how it stands.
func askStatus(path string) (status, error) {
	c, err := join(path)
	if err != nil {
		return status{}, err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(askWait))
	var s status
	err = json.NewDecoder(c).Decode(&s)
	return s, err
}

// follow reads how a run stands and then its events, until the connection or the context ends. Each goes to its function.
func follow(ctx context.Context, path string, begin func(status), event func(Event)) error {
	c, err := join(path)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	d := json.NewDecoder(bufio.NewReaderSize(c, 1<<16))
	var s status
	if err := d.Decode(&s); err != nil {
		return err
	}
	begin(s)
	for {
		var e Event
		if err := d.Decode(&e); err != nil {
			return err
		}
		event(e)
	}
}

// listenAt makes a socket for this user alone, in place of one that a killed process left. It has its name only once it answers:
// who connects between bind and listen is refused, as by the socket of a killed process.
func listenAt(path string) (*net.UnixListener, error) {
	unborn := path + ".new"
	_ = os.Remove(unborn)
	short, done, err := shortPath(unborn)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by the short name, which is no longer
	_ = os.Chmod(unborn, 0o600)
	if err := os.Rename(unborn, path); err != nil {
		_ = l.Close()
		_ = os.Remove(unborn)
		return nil, err
	}
	return l, nil
}

// shortPath names a socket through its open folder: an address holds 107
// bytes (unix(7)), a state folder's path may be longer.
func shortPath(path string) (string, func(), error) {
	if len(path) < 100 {
		return path, func() {}, nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(path)), func() { _ = d.Close() }, nil
}
