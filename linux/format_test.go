package linux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestFormatGivesTheUUIDAndMayBeRepeated(t *testing.T) {
	for _, fileSystem := range FileSystems() {
		t.Run(fileSystem, func(t *testing.T) {
			h := New(Roots{})
			d := format(t, h, fileSystem, 320*mib)
			want := UUIDFromToken(t.Name() + d.path)
			s, err := h.Probe(t.Context(), d.path)
			if err != nil || s.Class != ClassFileSystem || s.Type != fileSystem || s.UUID != want {
				t.Fatalf("Probe = %+v, %v; want %s %s", s, err, fileSystem, want)
			}
			must(t, h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: fileSystem, UUID: want}))
			err = h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: fileSystem, UUID: UUIDFromToken("another")})
			if !errors.Is(err, ErrNotBlank) {
				t.Errorf("Format with another UUID = %v, want ErrNotBlank", err)
			}
			if err := h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: fileSystem}); !errors.Is(err, ErrNotBlank) {
				t.Errorf("Format without UUID = %v, want ErrNotBlank", err)
			}
		})
	}
}

// stubTool puts a program of its own in the place of a real one.
func stubTool(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestAKilledMkfsIsKnownAsOurs(t *testing.T) {
	h, mine := New(Roots{}), UUIDFromToken("mine")
	for name, litter := range map[string]string{
		"data at the start":     `printf data | dd of="$LAST" bs=1 seek=300000 conv=notrunc status=none`,
		"the first MiB covered": `tr '\0' x </dev/zero | dd of="$LAST" bs=1M count=1 conv=notrunc iflag=fullblock status=none`,
		"the last MiB covered":  `tr '\0' x </dev/zero | dd of="$LAST" bs=1M seek=63 count=1 conv=notrunc iflag=fullblock status=none`,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, 64*mib)
			needFileSystem(t, "ext4")
			t.Run("killed", func(t *testing.T) {
				stubTool(t, "mkfs.ext4", `for LAST; do :; done; `+litter+`; kill -9 $$`)
				err := h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "ext4", UUID: mine})
				wantError(t, err, "mkfs.ext4", "killed")
			})
			s, err := h.Probe(t.Context(), d.path)
			if err != nil || s.Class != ClassUnfinished || s.Type != "ext4" || s.UUID != mine || s.Blank() {
				t.Fatalf("Probe = %+v, %v; want unfinished ext4 %s", s, err, mine)
			}
			err = h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "ext4", UUID: UUIDFromToken("another")})
			if !errors.Is(err, ErrNotBlank) {
				t.Errorf("Format with another UUID = %v, want ErrNotBlank", err)
			}
			must(t, h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "ext4", UUID: mine}))
			if s, err := h.Probe(t.Context(), d.path); err != nil || s.Type != "ext4" || s.UUID != mine || s.Class != ClassFileSystem {
				t.Errorf("Probe = %+v, %v", s, err)
			}
		})
	}
}

func TestMarksDoNoHarmToAFinishedFileSystem(t *testing.T) {
	h := New(Roots{})
	for fileSystem, check := range map[string][]string{
		"ext4": {"e2fsck", "-f", "-n"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check"},
	} {
		t.Run(fileSystem, func(t *testing.T) {
			d := formatted(t, h, fileSystem, 320*mib)
			run(t, check[0], append(check[1:], d.path)...)
			if out := run(t, "blkid", "-p", "-o", "value", "-s", "TYPE", d.path); out != fileSystem+"\n" {
				t.Errorf("blkid says %q", out)
			}
		})
	}
}

func TestFormatErrors(t *testing.T) {
	h := New(Roots{})
	d := newDisk(t, 64*mib)
	t.Run("unknown file system", func(t *testing.T) {
		err := h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "zfs"})
		wantError(t, err, "zfs", d.path, "xfs ext2")
	})
	t.Run("missing tool", func(t *testing.T) {
		if len(MissingTools("jfs")) == 0 {
			t.Skip("mkfs.jfs is installed here")
		}
		err := h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "jfs"})
		wantError(t, err, "mkfs.jfs is missing", "jfsutils")
	})
	t.Run("mkfs's own words", func(t *testing.T) {
		needFileSystem(t, "xfs")
		err := h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "xfs", Options: []string{"-b", "size=17"}})
		wantError(t, err, "mkfs.xfs", "exit status 1", "17")
	})
	t.Run("cancelled", func(t *testing.T) {
		needFileSystem(t, "ext4")
		stubTool(t, "mkfs.ext4", "exec tail -f /dev/null")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := h.Format(ctx, FormatRequest{Device: d.path, FileSystem: "ext4", UUID: UUIDFromToken("x")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Format = %v, want the deadline's error", err)
		}
	})
}

func TestABusyDeviceIsNeitherProbedNorFormatted(t *testing.T) {
	h := New(Roots{})
	d := formatted(t, h, "ext4", 64*mib)
	m := mounted(t, h, d, "ext4")
	_, err := h.Probe(t.Context(), d.path)
	if !errors.Is(err, ErrDeviceBusy) {
		t.Errorf("Probe = %v, want ErrDeviceBusy", err)
	}
	wantError(t, err, d.path, m.Mount.Target)
	err = h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "ext4", UUID: UUIDFromToken(t.Name() + d.path)})
	if !errors.Is(err, ErrDeviceBusy) {
		t.Errorf("Format = %v, want ErrDeviceBusy", err)
	}
}

func TestMkfsArgs(t *testing.T) {
	for _, c := range []struct {
		q    FormatRequest
		want []string
	}{
		{FormatRequest{Device: "/dev/x", FileSystem: "xfs", UUID: "u", Label: "l"}, []string{"-f", "-q", "-K", "-m", "uuid=u", "-L", "l", "/dev/x"}},
		{FormatRequest{Device: "/dev/x", FileSystem: "ext4", UUID: "u", Options: []string{"-E", "stride=4", "-m", "0"}},
			[]string{"-F", "-q", "-E", "nodiscard,stride=4", "-U", "u", "-m", "0", "/dev/x"}},
		{FormatRequest{Device: "/dev/x", FileSystem: "btrfs", UUID: "u", Options: []string{"-d", "single"}}, []string{"-f", "-q", "-K", "-U", "u", "-d", "single", "/dev/x"}},
		{FormatRequest{Device: "/dev/x", FileSystem: "jfs", UUID: "u"}, []string{"-q", "/dev/x"}},
		{FormatRequest{Device: "/dev/x", FileSystem: "reiserfs", UUID: "u"}, []string{"-f", "-f", "-q", "-u", "u", "/dev/x"}},
	} {
		if got, err := mkfsArgs(c.q); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("mkfsArgs(%+v) = %q, %v; want %q", c.q, got, err, c.want)
		}
	}
}

func TestKernelSupports(t *testing.T) {
	if !KernelSupports("tmpfs") || KernelSupports("nofs") {
		t.Error("every kernel knows tmpfs, and none knows nofs")
	}
}
