package linux

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func split(s string) []string { return strings.Split(s, "/") }

const warmMagic = 0x5741524d494e4721

// numbered is data whose every 4 KiB say which they are.
func numbered(from, blocks int) []byte {
	out := make([]byte, blocks*4096)
	for i := range blocks {
		binary.LittleEndian.PutUint64(out[i*4096:], warmMagic)
		binary.LittleEndian.PutUint64(out[i*4096+8:], uint64(from+i))
		for j := 16; j < 4096; j++ {
			out[i*4096+j] = byte((from + i) * (j | 1) >> 3) // not to be compressed away
		}
	}
	return out
}

// warmable is a file system with files of known blocks on a device of its own, and how many of these blocks there are.
func warmable(t *testing.T, fileSystem string) (d disk, target string, blocks int) {
	h := New(Roots{})
	d = formatted(t, h, fileSystem, 512*mib)
	target = mounted(t, h, d, fileSystem).Mount.Target
	for i, folder := range []string{"pg_wal", "base/1", "base/2", "log"} {
		must(t, os.MkdirAll(filepath.Join(target, folder), 0o755))
		for j := range 5 {
			n := 64 * (i + j + 1)
			must(t, os.WriteFile(filepath.Join(target, folder, fmt.Sprint(j)), numbered(blocks, n), 0o644))
			blocks += n
		}
	}
	sparse, err := os.Create(filepath.Join(target, "sparse"))
	must(t, err)
	defer sparse.Close()
	_, err = sparse.WriteAt(numbered(blocks, 3), 100*mib)
	must(t, err)
	blocks += 3
	unwritten, err := os.Create(filepath.Join(target, "unwritten"))
	must(t, err)
	defer unwritten.Close()
	must(t, unix.Fallocate(int(unwritten.Fd()), 0, 0, 20*mib))
	must(t, os.Link(filepath.Join(target, "log/0"), filepath.Join(target, "hard")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(target, "out")))
	must(t, os.Symlink("log", filepath.Join(target, "to-log")))
	must(t, unix.Mkfifo(filepath.Join(target, "fifo"), 0o600))
	if fileSystem != "ext4" {
		run(t, "cp", "--reflink=always", filepath.Join(target, "base/1/0"), filepath.Join(target, "shared"))
	}
	must(t, os.Mkdir(filepath.Join(target, "other"), 0o755))
	must(t, unix.Mount("none", filepath.Join(target, "other"), "tmpfs", 0, "size=8m"))
	t.Cleanup(func() { unix.Unmount(filepath.Join(target, "other"), 0) })
	must(t, os.WriteFile(filepath.Join(target, "other/file"), numbered(1<<30, 8), 0o644))
	run(t, "sync", "-f", target)
	return d, target, blocks
}

func TestWhatIsInUseIsWhereTheFilesLie(t *testing.T) {
	for _, fileSystem := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fileSystem, func(t *testing.T) {
			d, target, blocks := warmable(t, fileSystem)
			root, err := unix.Open(target, unix.O_DIRECTORY|unix.O_RDONLY, 0)
			must(t, err)
			defer unix.Close(root)
			w := fileWalk{root: root, path: target, files: fileSystem == "btrfs"}
			list, err := w.extents(t.Context())
			must(t, err)
			list = mergeExtents(list)
			if got, want := bytesIn(list), int64(blocks)*4096; got != want {
				t.Errorf("%d bytes are planned, and the files have %d", got, want)
			}
			device, err := os.Open(d.path)
			must(t, err)
			defer device.Close()
			must(t, unix.Fadvise(int(device.Fd()), 0, 0, unix.FADV_DONTNEED))
			seen := map[uint64]bool{}
			for _, e := range list {
				f, at := device, e.start
				if e.file != "" {
					f, err = os.Open(filepath.Join(target, e.file))
					must(t, err)
					defer f.Close()
					at = e.at
				}
				body := make([]byte, e.length)
				_, err := f.ReadAt(body, at)
				must(t, err)
				for ; len(body) > 0; body = body[4096:] {
					if n := binary.LittleEndian.Uint64(body[8:]); binary.LittleEndian.Uint64(body) != warmMagic || seen[n] || n >= uint64(blocks) {
						t.Fatalf("the planned block is not one of a file, or is planned twice: %x", body[:16])
					} else {
						seen[n] = true
					}
				}
			}
			if len(seen) != blocks {
				t.Errorf("%d of %d blocks are planned", len(seen), blocks)
			}
		})
	}
}

// sectorsRead is how much was read of a device since it was made, in bytes: Documentation/block/stat.rst.
func sectorsRead(t *testing.T, d disk) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.path), "stat"))
	must(t, err)
	var ios, merges, sectors int64
	_, err = fmt.Sscan(string(b), &ios, &merges, &sectors)
	must(t, err)
	return sectors * 512
}

func dropCaches(t *testing.T, target string) {
	t.Helper()
	run(t, "sync", "-f", target)
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Skipf("cannot drop the page cache: %v", err)
	}
}

func request(t *testing.T, d disk, target, fileSystem string) WarmRequest {
	return WarmRequest{Target: target, Device: d.path, FileSystem: fileSystem}
}

func TestWarmReadsWhatIsInUseOnce(t *testing.T) {
	for _, fileSystem := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fileSystem, func(t *testing.T) {
			d, target, blocks := warmable(t, fileSystem)
			used := int64(blocks) * 4096
			file := filepath.Join(target, "log/1")
			old := time.Unix(1e9, 0)
			must(t, os.Chtimes(file, old, old.Add(time.Hour))) // relatime would update it
			dropCaches(t, target)
			before := sectorsRead(t, d)
			got, err := New(Roots{}).Warm(t.Context(), request(t, d, target, fileSystem))
			must(t, err)
			if got.InUse != used || got.Read != used {
				t.Errorf("Warm = %+v; the files have %d bytes", got, used)
			}
			if n := sectorsRead(t, d) - before; n < used || n > used+used/10+4*mib { // folders and inodes are read, too
				t.Errorf("%d bytes were read from the device, and %d are in use", n, used)
			}
			var st unix.Stat_t
			must(t, unix.Stat(file, &st))
			if st.Atim.Sec != old.Unix() {
				t.Errorf("the access time was changed to %d", st.Atim.Sec)
			}
			run(t, "umount", filepath.Join(target, "other"))
			must(t, New(Roots{}).Unmount(t.Context(), target)) // nothing is left open
		})
	}
}

// Most of a compressed extent is not on the device: what lies where it seems to be is read as well.
func TestWarmReadsWhatFollowsCompressedData(t *testing.T) {
	for _, globs := range [][]string{nil, {"text*"}, {"noise*"}, {"*1", "*2"}} {
		t.Run(fmt.Sprint(globs), func(t *testing.T) {
			h := New(Roots{})
			d := formatted(t, h, "btrfs", 512*mib)
			target := mounted(t, h, d, "btrfs").Mount.Target
			run(t, "mount", "-o", "remount,compress-force=zstd", target)
			for i := range 200 {
				must(t, os.WriteFile(filepath.Join(target, fmt.Sprintf("text%d", i)), make([]byte, 128<<10), 0o600))
				noise := make([]byte, 20<<10)
				rand.Read(noise)
				must(t, os.WriteFile(filepath.Join(target, fmt.Sprintf("noise%d", i)), noise, 0o600))
			}
			const used = 200 * (4 + 20) << 10
			dropCaches(t, target)
			before := sectorsRead(t, d)
			q := request(t, d, target, "btrfs")
			q.Globs = globs
			got, err := New(Roots{}).Warm(t.Context(), q)
			must(t, err)
			if n := sectorsRead(t, d) - before; n < used || n > used+used/10+4*mib {
				t.Errorf("%d bytes were read from the device, and %d are in use", n, used)
			}
			if got.InUse < used || got.Read != got.InUse {
				t.Errorf("Warm = %+v; %d are in use", got, used)
			}
		})
	}
}

// stopAt is a context that ends once so much is read, and the last progress that was told.
func stopAt(t *testing.T, q *WarmRequest, most int64) (context.Context, *WarmProgress) {
	ctx, cancel := context.WithCancelCause(t.Context())
	last := &WarmProgress{}
	q.Progress = func(p WarmProgress) {
		if *last = p; p.Done >= most {
			cancel(errStopped)
		}
	}
	return ctx, last
}

var errStopped = errors.New("stopped")

func TestWarmGoesOnWhereItWas(t *testing.T) {
	for _, fileSystem := range []string{"ext4", "btrfs"} {
		for _, globs := range [][]string{nil, {"base/2/**", "**/0", "log/*"}} {
			t.Run(fmt.Sprint(fileSystem, globs), func(t *testing.T) {
				d, target, blocks := warmable(t, fileSystem)
				used := int64(blocks) * 4096
				q := request(t, d, target, fileSystem)
				q.Globs, q.depth = globs, 2
				var read int64
				for part := range int64(5) { // stopped four times, and then done
					ctx, last := stopAt(t, &q, used*(part+1)/5)
					if part == 4 {
						ctx = t.Context()
					}
					got, err := New(Roots{}).Warm(ctx, q)
					if part < 4 && !errors.Is(err, errStopped) || part == 4 && err != nil {
						t.Fatalf("part %d: %v", part, err)
					}
					if got.Read < read {
						t.Errorf("part %d: %d bytes in all, after %d", part, got.Read, read)
					}
					read, q.From = got.Read, last.WarmMark
				}
				// What was under way at each stop is read again.
				if read < used || read > used+4*2*warmPiece {
					t.Errorf("%d bytes were read in all, and %d are in use", read, used)
				}
				q.From.Read = 0
				if got, err := New(Roots{}).Warm(t.Context(), q); err != nil || got.Read != 0 {
					t.Errorf("after the end: %+v, %v", got, err)
				}
			})
		}
	}
}

func TestWarmReadsWhatMattersFirst(t *testing.T) {
	d, target, _ := warmable(t, "ext4")
	q := request(t, d, target, "ext4")
	q.Globs = []string{"pg_wal/**", "base/**"}
	wal := int64(64*(1+2+3+4+5)) * 4096
	ctx, last := stopAt(t, &q, wal)
	got, err := New(Roots{}).Warm(ctx, q)
	if !errors.Is(err, errStopped) || last.Priority != 1 || last.Offset != 0 || got.Read != wal {
		t.Errorf("stopped after the first pattern, which has %d bytes: %+v, %+v, %v", wal, got, last, err)
	}
}

func TestWarmStopsAtOnceAndLeavesNothingOpen(t *testing.T) {
	d, target, _ := warmable(t, "xfs")
	q := request(t, d, target, "xfs")
	q.Rate = 1 << 20 // it would take a minute
	ctx, cancel := context.WithCancelCause(t.Context())
	var stopped atomic.Bool
	q.Progress = func(p WarmProgress) {
		if p.Done > 0 && !stopped.Swap(true) {
			cancel(errStopped)
		}
	}
	if _, err := New(Roots{}).Warm(ctx, q); !errors.Is(err, errStopped) {
		t.Errorf("Warm = %v", err)
	}
	run(t, "umount", filepath.Join(target, "other"))
	must(t, New(Roots{}).Unmount(t.Context(), target))
}

func TestWarmWorksBesideAFreeze(t *testing.T) {
	d, target, blocks := warmable(t, "ext4")
	run(t, "fsfreeze", "-f", target)
	defer exec.Command("fsfreeze", "-u", target).Run()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := New(Roots{}).Warm(ctx, request(t, d, target, "ext4")); err != nil || got.Read != int64(blocks)*4096 {
		t.Errorf("Warm = %+v, %v", got, err)
	}
}

func TestWarmSaysWhatItCannotRead(t *testing.T) {
	d, target, _ := warmable(t, "ext4")
	q := request(t, d, target, "ext4")
	q.Device = filepath.Join(t.TempDir(), "gone")
	_, err := New(Roots{}).Warm(t.Context(), q)
	wantError(t, err, "cannot read "+target)
	if !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
	tmp := t.TempDir()
	must(t, unix.Mount("none", tmp, "tmpfs", 0, ""))
	defer unix.Unmount(tmp, 0)
	must(t, os.WriteFile(filepath.Join(tmp, "file"), []byte("x"), 0o600))
	q.Target, q.Device = tmp, d.path
	if _, err := New(Roots{}).Warm(t.Context(), q); !errors.Is(err, ErrCannotWarm) {
		t.Errorf("Warm of tmpfs = %v", err)
	}
}

func TestTheRateSpreadsThePieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reading{q: WarmRequest{Rate: 4 * mib}, left: []dataExtent{{start: 0, length: 40 * mib}}, underWay: map[int64]int{}}
		began := time.Now()
		for {
			_, wait, ok := r.take(t.Context())
			if !ok {
				break
			}
			time.Sleep(wait)
		}
		if took := time.Since(began); took != 39*time.Second/4 { // the first at once
			t.Errorf("40 MiB at 4 MiB/s took %s", took)
		}
	})
}
