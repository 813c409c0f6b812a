package engine

import (
	"slices"
	"testing"

	"snaptastic/linux"
)

// Before a mount makes anything it says which package is missing.
func TestPreflightNamesTheMissingPackage(t *testing.T) {
	kernelHas := func(fs string) bool { return fs != "jfs" }
	missing := func(fs string) []linux.Tool {
		if fs == "xfs" {
			return nil
		}
		return []linux.Tool{{Command: "mkfs." + fs, Package: fs + "-tools"}}
	}
	for _, c := range []struct {
		name       string
		of         []string
		mayBeEmpty bool
		want       []string
	}{
		{"all is there", []string{"xfs"}, true, nil},
		{"no mkfs", []string{"f2fs", "xfs"}, true, []string{"an empty f2fs volume could not be formatted: mkfs.f2fs is missing; install f2fs-tools"}},
		{"no mkfs, and none needed", []string{"f2fs"}, false, nil},
		{"not in the kernel", []string{"jfs"}, false, []string{"the running kernel does not list jfs"}},
	} {
		if got := missingSupport(c.of, c.mayBeEmpty, kernelHas, missing); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
