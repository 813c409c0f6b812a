package main

import (
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"snaptastic/linux/guard"
)

// TestMain makes this test binary stand for the program: as a guard, and as
// the `snaptastic` of the transcripts in testdata/script.
func TestMain(m *testing.M) {
	guard.Enter()
	if filepath.Base(os.Args[0]) == "snaptastic" {
		os.Exit(run(os.Args[1:]))
	}
	// Most of what runs in parallel waits for the sandbox's latencies and for time-outs, not for a processor; what is heavy does not.
	parallel := "16"
	if withHeavy {
		parallel = "10"
	}
	if err := flag.Set("test.parallel", parallel); err != nil { // -parallel goes before it
		panic(err)
	}
	if os.Getenv("GOGC") == "" { // of this process alone: what a command may take is measured in processes of its own
		debug.SetGCPercent(400)
	}
	testscript.Main(swept{m}, map[string]func(){"snaptastic": func() { os.Exit(run(os.Args[1:])) }})
}

// withHeavy: what takes long and seldom breaks alone runs as well. `make test` sets it.
var withHeavy = os.Getenv("SNAPTASTIC_HEAVY") != ""

func heavy(t *testing.T) {
	t.Helper()
	if !withHeavy {
		t.Skip("takes long: `make test` runs it, and so does SNAPTASTIC_HEAVY=1")
	}
}

// scratch is the folder of what tests share, as long as they run.
var scratch string

// swept runs the tests and takes scratch away.
type swept struct{ *testing.M }

func (s swept) Run() int {
	var err error
	if scratch, err = os.MkdirTemp("", "snaptastic-test-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(scratch)
	defer func() { endBrowser() }()
	return s.M.Run()
}

// memory is a folder of t whose fsync costs nothing, for what is not about disks: thousands of journals.
func memory(t testing.TB) string {
	t.Helper()
	const shm = "/dev/shm"
	var fs unix.Statfs_t
	if unix.Statfs(shm, &fs) != nil || fs.Type != unix.TMPFS_MAGIC || fs.Bavail*uint64(fs.Bsize) < 1<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "snaptastic-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// copyTree copies folders, files and links from one folder into another. Links into the one lead into the other, and holes
// stay holes.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		switch {
		case d.IsDir():
			return os.Mkdir(target, 0o700)
		case d.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if below, ok := strings.CutPrefix(link, from+"/"); ok {
				link = filepath.Join(to, below)
			}
			return errors.Join(err, os.Symlink(link, target))
		}
		return copySparse(path, target)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copySparse(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer target.Close()
	for at := int64(0); ; {
		at, err = unix.Seek(int(source.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no data up to the end
			return target.Truncate(info.Size())
		}
		end, err2 := unix.Seek(int(source.Fd()), at, unix.SEEK_HOLE)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(target, at), io.NewSectionReader(source, at, end-at)); err != nil {
			return err
		}
		at = end
	}
}
