package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A slowDisk is a loop device whose every read takes a while, as one of a volume does whose blocks are still in S3. Below it is a
// file that this process serves (FUSE, include/uapi/linux/fuse.h), over a sparse one. Writes are not slow.
type slowDisk struct {
	path string // of the loop device
	read atomic.Int64
	each atomic.Int64 // nanoseconds a read

	file   *os.File // below
	size   int64
	target string // the served file
	fuse   int
	over   sync.WaitGroup
}

// What one read asks for at most, and how many the kernel has under way: no less than a reader's depth.
const (
	slowRead  = 128 << 10
	slowDepth = 64
)

// FUSE's requests that a single file sees.
const (
	fuseForget, fuseGetattr, fuseSetattr, fuseOpen = 2, 3, 4, 14
	fuseRead, fuseWrite, fuseRelease, fuseFsync    = 15, 16, 18, 20
	fuseFlush, fuseInit, fuseInterrupt, fuseBatch  = 25, 26, 36, 42
)

// newSlowDisk makes a disk of so many bytes; its files lie in a folder.
func newSlowDisk(dir string, size int64) (d *slowDisk, err error) {
	d = &slowDisk{size: size, target: dir + "/served", fuse: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.remove())
		}
	}()
	if d.file, err = os.Create(dir + "/below"); err != nil {
		return d, err
	}
	if err = d.file.Truncate(size); err != nil {
		return d, err
	}
	if err = os.WriteFile(d.target, nil, 0o600); err != nil {
		return d, err
	}
	if d.fuse, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return d, err
	}
	options := fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0,max_read=%d", d.fuse, slowRead)
	if err = unix.Mount("slow", d.target, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return d, err
	}
	for range 4 {
		d.over.Go(d.serve)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", d.target).CombinedOutput()
	if err != nil {
		return d, fmt.Errorf("losetup: %w: %s", err, out)
	}
	d.path = strings.TrimSpace(string(out))
	return d, nil
}

// remove takes it all away. Nothing may be mounted on it any more.
func (d *slowDisk) remove() (err error) {
	d.each.Store(0)
	if d.path != "" {
		if out, failed := exec.Command("losetup", "--detach", d.path).CombinedOutput(); failed != nil {
			err = fmt.Errorf("losetup: %w: %s", failed, out)
		}
	}
	if d.fuse >= 0 {
		for range 100 { // the loop device lets go of its file a moment after it was detached
			if failed := unix.Unmount(d.target, 0); !errors.Is(failed, unix.EBUSY) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		_ = unix.Unmount(d.target, unix.MNT_DETACH)
		d.over.Wait()
		_ = unix.Close(d.fuse)
	}
	if d.file != nil {
		_ = d.file.Close()
		_ = os.Remove(d.file.Name())
	}
	return err
}

// serve answers until the file is unmounted.
func (d *slowDisk) serve() {
	request := make([]byte, slowRead+8192)
	for {
		n, err := unix.Read(d.fuse, request)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil || n < 40 {
			return // ENODEV: unmounted
		}
		op, unique, body := binary.LittleEndian.Uint32(request[4:]), binary.LittleEndian.Uint64(request[8:]), request[40:n]
		switch op {
		case fuseForget, fuseBatch, fuseInterrupt:
		case fuseRead:
			offset, size := int64(binary.LittleEndian.Uint64(body[8:])), int64(binary.LittleEndian.Uint32(body[16:]))
			d.over.Go(func() { d.answerRead(unique, offset, size) })
		default:
			out, errno := d.do(op, body)
			d.send(unique, errno, out)
		}
	}
}

// answerRead is one read of the device.
func (d *slowDisk) answerRead(unique uint64, offset, size int64) {
	if each := time.Duration(d.each.Load()); each > 0 {
		time.Sleep(each)
	}
	d.read.Add(size)
	out := make([]byte, 16+size)
	n, _ := d.file.ReadAt(out[16:], offset)
	d.send(unique, 0, out[:16+n])
}

// do is what is not slow.
func (d *slowDisk) do(op uint32, body []byte) (out []byte, errno unix.Errno) {
	le := binary.LittleEndian
	switch op {
	case fuseInit:
		out = make([]byte, 16+64)
		le.PutUint32(out[16:], 7)
		le.PutUint32(out[20:], 31)
		const asyncRead, asyncDIO, maxPages = 1 << 0, 1 << 15, 1 << 22
		le.PutUint32(out[28:], asyncRead|asyncDIO|maxPages)
		le.PutUint16(out[32:], slowDepth)
		le.PutUint16(out[34:], slowDepth)
		le.PutUint32(out[36:], slowRead)
		le.PutUint32(out[40:], 1)
		le.PutUint16(out[44:], slowRead/4096)
	case fuseGetattr, fuseSetattr:
		out = make([]byte, 16+16+88)
		le.PutUint64(out[16:], 3600)
		attr := out[32:]
		le.PutUint64(attr, 1)
		le.PutUint64(attr[8:], uint64(d.size))
		le.PutUint64(attr[16:], uint64(d.size/512))
		le.PutUint32(attr[60:], unix.S_IFREG|0o600)
		le.PutUint32(attr[64:], 1)
		le.PutUint32(attr[80:], 4096)
	case fuseOpen:
		out = make([]byte, 16+16)
	case fuseWrite:
		n, err := d.file.WriteAt(body[40:], int64(le.Uint64(body[8:])))
		if err != nil {
			return make([]byte, 16), unix.EIO
		}
		out = make([]byte, 16+8)
		le.PutUint32(out[16:], uint32(n))
	case fuseFlush, fuseFsync, fuseRelease:
		out = make([]byte, 16)
	default:
		return make([]byte, 16), unix.ENOSYS
	}
	return out, 0
}

// send writes an answer, whose first 16 bytes are its head.
func (d *slowDisk) send(unique uint64, errno unix.Errno, out []byte) {
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	binary.LittleEndian.PutUint32(out[4:], uint32(-int32(errno)))
	binary.LittleEndian.PutUint64(out[8:], unique)
	_, _ = unix.Write(d.fuse, out)
}

// readAll reads the first so many bytes of the disk around the page cache, so many pieces of 1 MiB at a time, and tells how long that takes: what
// the device itself allows.
func (d *slowDisk) readAll(ctx context.Context, size int64, depth int) (time.Duration, error) {
	f, err := os.OpenFile(d.path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const piece = 1 << 20
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for range depth {
		all.Go(func() {
			buffer, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				failed.Store(&err)
				return
			}
			defer unix.Munmap(buffer)
			for at := next.Add(piece) - piece; at < size && ctx.Err() == nil; at = next.Add(piece) - piece {
				if _, err := unix.Pread(int(f.Fd()), buffer, at); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Since(began), ctx.Err()
}
