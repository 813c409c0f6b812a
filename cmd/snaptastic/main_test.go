package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

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
	if err := flag.Set("test.parallel", "6"); err != nil { // -parallel goes before it
		panic(err)
	}
	testscript.Main(m, map[string]func(){"snaptastic": func() { os.Exit(run(os.Args[1:])) }})
}
