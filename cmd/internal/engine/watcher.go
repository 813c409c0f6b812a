package engine

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A watcher is a program that is connected to the status socket. backlog is what it has not taken yet.
type watcher struct {
	c       *net.UnixConn
	backlog []byte
	most    int       // bytes
	moved   time.Time // when it last took something, or had nothing to take
}

func (w *watcher) add(line []byte) {
	if len(w.backlog) == 0 {
		w.moved = time.Now()
	}
	w.backlog = append(w.backlog, line...)
}

// write writes what the kernel takes at once. It says whether the watcher is worth being kept.
func (w *watcher) write() bool {
	if len(w.backlog) == 0 {
		return true
	}
	raw, err := w.c.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		n, failed = unix.SendmsgN(int(fd), w.backlog, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true // whatever came of it: nobody waits for a watcher
	})
	if err != nil || failed != nil && !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR) {
		return false
	}
	if n > 0 {
		w.moved = time.Now()
		if w.backlog = w.backlog[n:]; len(w.backlog) == 0 {
			w.backlog = nil
		}
	}
	return len(w.backlog) <= w.most && (len(w.backlog) == 0 || time.Since(w.moved) < slowAfter)
}

// gone says that the other end is closed.
func (w *watcher) gone() bool {
	raw, err := w.c.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = n == 0 && failed == nil
		return true
	})
	return err != nil || closed
}
