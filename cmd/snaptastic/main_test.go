package main

import (
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
	testscript.Main(m, map[string]func(){"snaptastic": func() { os.Exit(run(os.Args[1:])) }})
}
