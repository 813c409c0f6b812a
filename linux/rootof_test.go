package linux

import (
	"context"
	"os"
	"syscall"
	"testing"
)

func TestTheRootOfANewFileSystemHasItsOwner(t *testing.T) {
	h := New(Roots{})
	for _, fileSystem := range []string{"ext4", "xfs", "btrfs", "f2fs"} {
		for _, c := range []struct {
			root     RootAttributes
			uid, gid uint32
			mode     os.FileMode
		}{
			{RootAttributes{}, 0, 0, 0o755},
			{RootAttributes{Owner: "nobody", Group: "1234", Mode: "0750"}, 65534, 1234, 0o750},
			{RootAttributes{Owner: "4321"}, 4321, 0, 0o755},
			{RootAttributes{Group: "nogroup", Mode: "2775"}, 0, 65534, 0o775 | os.ModeSetgid},
		} {
			t.Run(fileSystem+c.root.Owner+c.root.Mode, func(t *testing.T) {
				needFileSystem(t, fileSystem)
				d := newDisk(t, 320*mib)
				must(t, h.Format(context.Background(), FormatRequest{Device: d.path, FileSystem: fileSystem, UUID: UUIDFromToken(t.Name()), Root: c.root}))
				must(t, h.DeviceFree(t.Context(), d.path))
				m := mounted(t, h, d, fileSystem)
				fi, err := os.Stat(m.Mount.Target)
				must(t, err)
				st := fi.Sys().(*syscall.Stat_t)
				if st.Uid != c.uid || st.Gid != c.gid || fi.Mode()&^os.ModeDir != c.mode {
					t.Errorf("it is %d:%d with %v", st.Uid, st.Gid, fi.Mode())
				}
			})
		}
	}
}

func TestAnUnknownOwnerIsRefusedBeforeFormatting(t *testing.T) {
	h := New(Roots{})
	d := newDisk(t, 32*mib)
	for words, root := range map[string]RootAttributes{"user \"no-such-user\" does not exist": {Owner: "no-such-user"}, "group \"no-such-group\" does not exist": {Group: "no-such-group"}, "octal": {Mode: "9"}} {
		wantError(t, h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "ext4", UUID: UUIDFromToken("a"), Root: root}), words)
		if s, err := h.Probe(t.Context(), d.path); err != nil || !s.Blank() {
			t.Errorf("Probe = %v, %v", s, err)
		}
	}
}
