package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/ec2"
)

var fileSystems = []string{"ext4", "xfs", "btrfs"}

func needMkfs(t *testing.T, fileSystem string) {
	t.Helper()
	if _, err := exec.LookPath("mkfs." + fileSystem); err != nil {
		t.Skipf("needs mkfs.%s", fileSystem)
	}
}

// What comes back from a snapshot is what was there: content, holes, extended
// attributes, links, modes and times.
func TestRestoredTreeIsByteIdentical(t *testing.T) {
	t.Parallel()
	for _, kind := range fileSystems {
		t.Run(kind, func(t *testing.T) {
			needMkfs(t, kind)
			r := newRig(t, 1, kind)
			r.must("run", "mount", "db")
			makeTree(t, r.mounts[0])
			want := describeTree(t, r.mounts[0])
			r.must("run", "snapshot", "db")
			if err := os.WriteFile(filepath.Join(r.mounts[0], "later"), []byte("not in the snapshot"), 0o600); err != nil {
				t.Fatal(err)
			}
			r.lose()
			r.must("run", "mount", "db")
			got := describeTree(t, r.mounts[0])
			if len(want) < 200 {
				t.Fatalf("only %d entries to compare", len(want))
			}
			for path, facts := range want {
				if got[path] != facts {
					t.Errorf("%s is\n  %s, was\n  %s", path, got[path], facts)
				}
				delete(got, path)
			}
			for path := range got {
				t.Errorf("%s was not there", path)
			}
		})
	}
}

// makeTree plants a tree with one of everything.
func makeTree(t *testing.T, root string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for d := range 10 {
		dir := filepath.Join(root, fmt.Sprintf("dir %d", d), "深い")
		must(os.MkdirAll(dir, 0o750))
		for f := range 20 {
			b := make([]byte, rng.IntN(40_000))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			must(os.WriteFile(filepath.Join(dir, fmt.Sprint(f)), b, os.FileMode(0o400+rng.IntN(0o377))))
		}
	}
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	must(err)
	for _, at := range []int64{0, 10 << 20, 90 << 20} {
		_, err := sparse.WriteAt([]byte("island"), at)
		must(err)
	}
	must(sparse.Close())
	must(os.WriteFile(filepath.Join(root, "one"), []byte("two names"), 0o600))
	must(os.Link(filepath.Join(root, "one"), filepath.Join(root, "other")))
	must(os.Symlink("one", filepath.Join(root, "symbolic")))
	must(unix.Setxattr(filepath.Join(root, "one"), "user.colour", []byte("bl\x00ue"), 0))
	must(unix.Mkfifo(filepath.Join(root, "fifo"), 0o640))
	must(os.Chown(filepath.Join(root, "other"), 1234, 5678))
	must(os.WriteFile(filepath.Join(root, "empty"), nil, 0o644))
}

// describeTree is what can be known of each entry of a tree.
func describeTree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range entries(t, root) {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, p)
		facts := fmt.Sprintf("mode %o, owner %d:%d, links %d, inode %d, size %d", st.Mode, st.Uid, st.Gid, st.Nlink, st.Ino, st.Size)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			facts += fmt.Sprintf(", changed %d.%09d, blocks %d, sha256 %s", st.Mtim.Sec, st.Mtim.Nsec, st.Blocks, sum(t, p))
			buf := make([]byte, 64)
			if n, err := unix.Getxattr(p, "user.colour", buf); err == nil {
				facts += fmt.Sprintf(", colour %q", buf[:n])
			}
		case unix.S_IFLNK:
			to, _ := os.Readlink(p)
			facts += ", to " + to
		case unix.S_IFDIR:
			facts = fmt.Sprintf("folder, mode %o", st.Mode)
		}
		out[rel] = facts
	}
	return out
}

// A snapshot taken while a writer appends and syncs without pause restores to
// a clean file system that holds every record synced before it, and the
// records that it holds are the first ones without a gap.
func TestSnapshotUnderAWriterIsCleanAndHoldsWhatWasSynced(t *testing.T) {
	t.Parallel()
	for _, kind := range fileSystems {
		t.Run(kind, func(t *testing.T) {
			needMkfs(t, kind)
			r := newRig(t, 1, kind)
			r.must("run", "mount", "db")
			w := startWriter(t, r.mounts[0])
			for range 3 {
				w.reach(w.synced.Load() + 20)
				before := w.synced.Load()
				r.must("run", "snapshot", "db")
				w.promises = append(w.promises, before)
			}
			w.stop()
			synced := w.synced.Load()
			if kind == "ext4" { // as it was taken, before any mount could replay its journal
				snaps, err := r.client.Snapshots(context.Background(), ec2.SnapshotQuery{})
				if err != nil || len(snaps) == 0 {
					t.Fatalf("%d snapshots, %v", len(snaps), err)
				}
				tool(t, "e2fsck", "-fn", filepath.Join(r.sandboxDir(), "vol", snaps[0].ID))
			}
			r.lose()
			r.must("run", "mount", "db")
			got := countRecords(t, filepath.Join(r.mounts[0], "wal"))
			if want := w.promises[2]; got < want {
				t.Errorf("the snapshot holds %d records, and %d were synced before it was asked for", got, want)
			}
			if got > synced+1 {
				t.Errorf("the snapshot holds %d records, and only %d were ever written", got, synced+1)
			}
			t.Logf("%d synced before, %d in the snapshot, %d at the end", w.promises[2], got, synced)
			node := r.node(r.volumes()[r.mounts[0]].ID)
			if err := unix.Unmount(r.mounts[0], 0); err != nil {
				t.Fatal(err)
			}
			switch kind {
			case "xfs": // mounted and unmounted once: files open when it froze are legitimately unlinked
				tool(t, "xfs_repair", "-n", node)
			case "btrfs":
				tool(t, "btrfs", "check", "--readonly", node)
			}
		})
	}
}

// writer appends records of a growing number to a file, each synced before
// the next.
type writer struct {
	t        *testing.T
	f        *os.File
	synced   atomic.Uint64
	quit     chan struct{}
	over     chan struct{}
	promises []uint64
}

const recordSize = 512

func startWriter(t *testing.T, root string) *writer {
	t.Helper()
	f, err := os.Create(filepath.Join(root, "wal"))
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, f: f, quit: make(chan struct{}), over: make(chan struct{})}
	go w.write()
	t.Cleanup(w.stop)
	return w
}

func (w *writer) write() {
	defer close(w.over)
	defer w.f.Close()
	for n := uint64(0); ; n++ {
		select {
		case <-w.quit:
			return
		default:
		}
		if _, err := w.f.Write(record(n)); err != nil {
			w.t.Errorf("cannot append: %v", err)
			return
		}
		if err := w.f.Sync(); err != nil {
			w.t.Errorf("cannot sync: %v", err)
			return
		}
		w.synced.Store(n + 1)
	}
}

func (w *writer) reach(n uint64) {
	for w.synced.Load() < n {
		select {
		case <-w.over:
			w.t.Fatal("the writer stopped")
		default:
			time.Sleep(time.Millisecond)
		}
	}
}

func (w *writer) stop() {
	select {
	case <-w.quit:
	default:
		close(w.quit)
	}
	<-w.over
}

func record(n uint64) []byte {
	b := bytes.Repeat([]byte{byte(n)}, recordSize)
	binary.LittleEndian.PutUint64(b, n)
	binary.LittleEndian.PutUint32(b[recordSize-4:], crc32.ChecksumIEEE(b[:recordSize-4]))
	return b
}

// countRecords wants the file to hold record 0, 1, 2, … and returns how many;
// only the very last may be torn, since it was not synced yet.
func countRecords(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0
		}
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	b := make([]byte, recordSize)
	for n := uint64(0); ; n++ {
		if k, err := readFull(in, b); err != nil {
			if k > 0 {
				t.Logf("record %d is torn after %d bytes, not having been synced", n, k)
			}
			return n
		}
		if !bytes.Equal(b, record(n)) {
			if _, err := in.Peek(1); err == nil {
				t.Errorf("record %d is damaged and there are more behind it", n)
			}
			return n
		}
	}
}

func readFull(in *bufio.Reader, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := in.Read(b[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// A larger volume than its snapshot: the file system grows into it.
func TestRestoreIntoALargerVolumeGrowsTheFileSystem(t *testing.T) {
	t.Parallel()
	for _, kind := range fileSystems {
		t.Run(kind, func(t *testing.T) {
			needMkfs(t, kind)
			r := newRig(t, 1, kind)
			r.must("run", "mount", "db")
			makeTree(t, r.mounts[0])
			r.must("run", "snapshot", "db")
			r.lose()
			settings, err := os.ReadFile(r.settings)
			if err != nil {
				t.Fatal(err)
			}
			r.declare(strings.Replace(string(settings), "size = 1", "size = 3", 1))
			out := r.must("run", "mount", "db")
			if strings.Contains(out, "CAP_SYS_RESOURCE") { // said, and the mount serves as it is
				t.Skip("this kernel does not let this root grow " + kind)
			}
			var st unix.Statfs_t
			if err := unix.Statfs(r.mounts[0], &st); err != nil {
				t.Fatal(err)
			}
			if size := st.Blocks * uint64(st.Bsize); size < 5<<29 {
				t.Errorf("the file system has %d MiB in a volume of 3 GiB:\n%s", size>>20, out)
			}
			if n := len(entries(t, r.mounts[0])); n < 200 {
				t.Errorf("only %d entries", n)
			}
		})
	}
}
