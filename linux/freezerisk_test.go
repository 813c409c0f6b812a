package linux

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func words(risks []FreezeRisk) string {
	var all []string
	for _, r := range risks {
		all = append(all, r.String())
	}
	return strings.Join(all, "; ")
}

func TestFreezeRisks(t *testing.T) {
	h := New(Roots{})
	outer := mounted(t, h, formatted(t, h, "xfs", 400*mib), "xfs").Mount.Target
	if risks, err := h.FreezeRisks(outer, []NamedPath{{"/var/lib/snaptastic", "the journal"}}); err != nil || len(risks) != 0 {
		t.Errorf("FreezeRisks of a plain volume = %v, %v", words(risks), err)
	}

	// A second volume of the set whose image lies on the first, as a sandbox kept on a volume would have it.
	image := filepath.Join(outer, "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64*mib))
	inner := attach(t, image)
	must(t, h.Format(t.Context(), FormatRequest{Device: inner.path, FileSystem: "ext4", UUID: UUIDFromToken("inner")}))
	in := mounted(t, h, inner, "ext4").Mount.Target

	for _, c := range []struct {
		name  string
		path  string
		extra []NamedPath
		want  []string
	}{
		{"journal on it, not made yet", outer, []NamedPath{{outer + "/state/runs", "the journal"}}, []string{"it holds the journal"}},
		{"journal at its mount point", outer, []NamedPath{{outer, "the journal"}}, []string{"it holds the journal"}},
		{"journal on a loop device over it", outer, []NamedPath{{in + "/state", "the journal"}}, []string{"it holds the journal"}},
		{"another volume's image on it", outer, []NamedPath{{in, "another volume of the set"}}, []string{"another volume"}},
		{"the inner one alone is fine", in, []NamedPath{{outer, "another volume of the set"}}, nil},
		{"root", "/", nil, []string{"the root file system"}},
		{"no mount point", image, nil, []string{"not a mount point"}},
		{"a type that cannot", "/proc", nil, []string{"proc cannot be frozen"}},
	} {
		risks, err := h.FreezeRisks(c.path, c.extra)
		if err != nil || (len(risks) == 0) != (c.want == nil) {
			t.Errorf("%s: FreezeRisks = %v, %v", c.name, words(risks), err)
		}
		for _, w := range c.want {
			if !strings.Contains(words(risks), w) {
				t.Errorf("%s: %q does not say %q", c.name, words(risks), w)
			}
		}
	}
}

func TestFreezeRisksFollowDeviceMapper(t *testing.T) {
	// sysfs as LVM shows it: dm-0 (253:0) on loop 9:9, whose backing file is nowhere near.
	h := New(Roots{})
	h.kernelSys = t.TempDir()
	dm := filepath.Join(h.kernelSys, "devices/dm-0")
	must(t, os.MkdirAll(filepath.Join(dm, "slaves/loop9"), 0o755))
	must(t, os.MkdirAll(filepath.Join(h.kernelSys, "dev/block"), 0o755))
	must(t, os.WriteFile(filepath.Join(dm, "slaves/loop9/dev"), []byte("9:9\n"), 0o600))
	must(t, os.Symlink(dm, filepath.Join(h.kernelSys, "dev/block/253:0")))
	link := filepath.Join(h.kernelSys, "dev/block/253:0")
	if !h.deviceRestsOn(nil, link, Mount{Major: 9, Minor: 9}, 0) {
		t.Error("dm-0 rests on 9:9")
	}
	if h.deviceRestsOn(nil, link, Mount{Major: 9, Minor: 8}, 0) {
		t.Error("dm-0 does not rest on 9:8")
	}
}

func TestSystemFoldersAreRisksWhateverTheirMount(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 32*mib)
	t.Setenv("TMPDIR", mounted(t, h, d, "ext4").Mount.Target)
	risks, err := h.FreezeRisks(os.TempDir(), nil)
	if err != nil || !slices.ContainsFunc(risks, func(r FreezeRisk) bool { return strings.Contains(r.What, "temporary files") }) {
		t.Errorf("FreezeRisks = %v, %v", words(risks), err)
	}
}
