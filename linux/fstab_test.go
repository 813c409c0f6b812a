package linux

import (
	"os"
	"path/filepath"
	"testing"
)

func TestALineOfFstabIsFoundByWhereItLeads(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "real", "with space", "link -> ROOT/real")
	file := filepath.Join(root, "fstab")
	must(t, os.WriteFile(file, []byte("# "+root+"/real\nUUID=1 "+root+"/other ext4 noauto 0 0\n\nUUID=2\t"+root+"/link  xfs\tnofail 0 2\nUUID=3 "+root+`/with\040space ext4`+"\nUUID=4 none swap sw\nbad\n"), 0o600))
	h := New(Roots{Fstab: file})
	for target, want := range map[string]string{"real": ":4", "link": ":4", "other": ":2", "with space": ":5", "none": "", "real/inner": ""} {
		line, found := h.FstabLine(filepath.Join(root, target))
		if found != (want != "") || found && line.Place != file+want {
			t.Errorf("FstabLine(%s) = %+v, %v; want %q", target, line, found, want)
		}
	}
	if line, found := New(Roots{Fstab: filepath.Join(root, "none")}).FstabLine(root); found {
		t.Errorf("without an fstab: %+v", line)
	}
}
