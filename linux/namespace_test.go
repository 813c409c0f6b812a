package linux

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMountsAreSharedWithPID1(t *testing.T) {
	const line = " 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
	for _, c := range []struct {
		name          string
		self, one     string // ns/mnt; "" for one that cannot be read
		mine, theirs  string // mountinfo; "" likewise
		shared, known bool
	}{
		{"one namespace", "mnt:[1]", "mnt:[1]", "", "", true, true},
		{"two", "mnt:[2]", "mnt:[1]", "", "", false, true},
		{"the link says more than the table", "mnt:[2]", "mnt:[1]", "22" + line, "22" + line, false, true},
		{"unreadable, one table", "mnt:[1]", "", "22" + line, "22" + line, true, true},
		{"unreadable, another mount besides", "mnt:[1]", "", "22" + line + "23" + line, "22" + line, true, true},
		{"unreadable, a copy of the table", "mnt:[1]", "", "122" + line, "22" + line, false, true},
		{"nothing to be read", "mnt:[1]", "", "22" + line, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc := t.TempDir()
			for pid, of := range map[string][2]string{"self": {c.self, c.mine}, "1": {c.one, c.theirs}} {
				must(t, os.MkdirAll(filepath.Join(proc, pid, "ns"), 0o755))
				if of[0] != "" {
					must(t, os.Symlink(of[0], filepath.Join(proc, pid, "ns/mnt")))
				}
				if of[1] != "" {
					must(t, os.WriteFile(filepath.Join(proc, pid, "mountinfo"), []byte(of[1]), 0o600))
				}
			}
			if shared, known := New(Roots{Proc: proc}).MountsShared(); shared != c.shared || known != c.known {
				t.Errorf("MountsShared = %v, %v; want %v, %v", shared, known, c.shared, c.known)
			}
		})
	}
}
