package main

import (
	"flag"
	"os"
	"path/filepath"
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
	// Most of what runs in parallel waits for the sandbox's latencies and for time-outs, not for a processor.
	if err := flag.Set("test.parallel", "10"); err != nil { // -parallel goes before it
		panic(err)
	}
	testscript.Main(swept{m}, map[string]func(){"snaptastic": func() { os.Exit(run(os.Args[1:])) }})
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
