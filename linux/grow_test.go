package linux

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestGrowFillsAnEnlargedDevice(t *testing.T) {
	for _, fileSystem := range []string{"xfs", "btrfs", "ext4", "ext3"} {
		t.Run(fileSystem, func(t *testing.T) {
			h := New(Roots{})
			d := formatted(t, h, fileSystem, 320*mib)
			m := mounted(t, h, d, fileSystem)
			must(t, os.WriteFile(filepath.Join(m.Mount.Target, "file"), []byte("kept"), 0o600))
			dev, _, err := h.VolumeOf(m.Mount.Target)
			must(t, err)
			if ok, err := h.Growable(t.Context(), dev, m.Mount); ok || err != nil {
				t.Errorf("Growable before = %v, %v", ok, err)
			}
			if r, err := h.Grow(t.Context(), dev, m.Mount); r.Grown || err != nil {
				t.Errorf("Grow of a full device = %+v, %v", r, err)
			}
			d.enlarge(t, 1024*mib)
			r, err := h.Grow(t.Context(), dev, m.Mount) // dev still has the old size: Grow looks again
			if errors.Is(err, ErrCannotGrow) && fileSystem[:3] == "ext" && !hasCapability(unix.CAP_SYS_RESOURCE) {
				wantError(t, err, "CAP_SYS_RESOURCE")
				t.Skip("this process lacks CAP_SYS_RESOURCE, without which the kernel grows no mounted ext")
			}
			if err != nil || !r.Grown || r.Before > 320*mib || r.After < 1000*mib {
				t.Fatalf("Grow = %+v, %v", r, err)
			}
			if total, _, _ := h.Usage(m.Mount.Target); total < 900*mib {
				t.Errorf("%d bytes in all after growing", total)
			}
			if r, err := h.Grow(t.Context(), dev, m.Mount); r.Grown || err != nil {
				t.Errorf("second Grow = %+v, %v", r, err)
			}
			if b, _ := os.ReadFile(filepath.Join(m.Mount.Target, "file")); string(b) != "kept" {
				t.Errorf("the file reads %q", b)
			}
		})
	}
}
