package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	mib  = 1 << 20
	edge = 16 * mib // at each end of a device; every signature, and every mkfs, writes there
)

// signatures are what may be on a device that is not blank. made is its tool.
var signatures = []struct {
	name       string
	fileSystem bool // a mount may adopt it as it is
	made       func(t *testing.T, node string)
}{
	{"ext4", true, func(t *testing.T, node string) { tool(t, "mkfs.ext4", "-q", "-F", "-L", "precious", node) }},
	{"xfs", true, func(t *testing.T, node string) { tool(t, "mkfs.xfs", "-q", "-f", "-L", "precious", node) }},
	{"swap", false, func(t *testing.T, node string) { tool(t, "mkswap", node) }},
	{"LVM", false, func(t *testing.T, node string) {
		tool(t, "pvcreate", "-y", "--config", fmt.Sprintf(`devices { use_devicesfile=0 filter=["a|^%s$|","r|.*|"] }`, node), node)
	}},
	{"LUKS", false, func(t *testing.T, node string) {
		key := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", key, node)
	}},
	{"GPT", false, func(t *testing.T, node string) { tool(t, "sgdisk", "-n", "1:0:0", node) }},
	{"MBR", false, func(t *testing.T, node string) {
		tool(t, "sh", "-c", "echo 'label: dos\n,,83' | sfdisk -q --no-reread --no-tell-kernel "+node)
	}},
	{"RAID member", false, func(t *testing.T, node string) { // as mdadm lays it out, version 1.2
		b := make([]byte, 256)
		binary.LittleEndian.PutUint32(b, 0xa92b4efc)
		binary.LittleEndian.PutUint32(b[4:], 1)
		copy(b[16:], "0123456789abcdef")
		binary.LittleEndian.PutUint64(b[144:], 4096/512)
		poke(t, node, 4096, b)
	}},
}

// No device with a signature on it is formatted by the whole program: not one
// of somebody else's under the planned name, not one with our own tags, and
// not a volume that this run itself made empty and on which something appears
// before its turn. Where the signature is a file system and the tags are ours,
// it is mounted as it is.
func TestNoDeviceWithASignatureIsEverFormatted(t *testing.T) {
	t.Parallel()
	for _, tt := range signatures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 3, "ext4", "--create-time=700ms")
			w := r.openSandbox()
			foreign, err := w.AddVolume("/dev/sdf", 1, map[string]string{"role": "other"})
			if err != nil {
				t.Fatal(err)
			}
			ours, err := w.AddVolume("/dev/sdg", 1, map[string]string{"role": "db", "mount_point": r.mounts[1]})
			if err != nil {
				t.Fatal(err)
			}
			tt.made(t, r.node(foreign))
			head, tail := ends(t, r.node(foreign))
			put := func(path string) {
				poke(t, path, 0, head)
				poke(t, path, 1<<30-edge, tail)
			}
			tt.made(t, r.node(ours))
			want, wantOurs := edgeSum(t, r.node(foreign)), edgeSum(t, r.node(ours))

			s := r.start("run", "mount", "db")
			r.await("CreateVolume")
			fresh := r.volumes()[r.mounts[2]].ID
			put(filepath.Join(r.sandboxDir(), "vol", fresh))
			code, out := s.ends()

			wantCode := exitFailed
			if tt.fileSystem {
				wantCode = exitSomeLanes
			}
			if code != wantCode {
				t.Errorf("exit %d, want %d\n%s", code, wantCode, out)
			}
			if !strings.Contains(out, foreign) || !strings.Contains(out, "which this run did not write") && !strings.Contains(out, "device is not blank") {
				t.Errorf("it does not say what is in the way:\n%s", out)
			}
			for what, id := range map[string]string{"somebody else's": foreign, "the run's own new one": fresh} {
				if got := edgeSum(t, r.node(id)); got != want {
					t.Errorf("%s was written to\n%s", what, out)
				}
			}
			if !tt.fileSystem {
				if got := edgeSum(t, r.node(ours)); got != wantOurs {
					t.Errorf("the one with our tags was written to\n%s", out)
				}
				return
			}
			if got := r.mounted(); len(got) != 1 || got[0] != r.mounts[1] {
				t.Errorf("mounted are %v\n%s", got, out)
			}
			if label := tool(t, "blkid", "-p", "-o", "value", "-s", "LABEL", r.node(ours)); strings.TrimSpace(label) != "precious" {
				t.Errorf("the one with our tags is now labelled %q\n%s", label, out)
			}
		})
	}
}

// ends are the first and the last bytes of a device.
func ends(t *testing.T, path string) (head, tail []byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head, tail = make([]byte, edge), make([]byte, edge)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(tail, 1<<30-edge); err != nil {
		t.Fatal(err)
	}
	if bytes.Count(head, []byte{0})+bytes.Count(tail, []byte{0}) == 2*edge {
		t.Fatal("it is blank")
	}
	return head, tail
}

func edgeSum(t *testing.T, path string) string {
	t.Helper()
	head, tail := ends(t, path)
	h := sha256.New()
	_, _ = h.Write(head)
	_, _ = h.Write(tail)
	return hex.EncodeToString(h.Sum(nil))
}

// poke writes through to the device.
func poke(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
}
