package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// signed are disks that carry something. Each is made by the real tool where one is here; the RAID superblocks are written by
// hand as mdadm lays them out, since making an array needs the kernel's driver.
var signed = []struct {
	name, class, kind string
	size              int64
	sign              func(t *testing.T, d disk)
}{
	{"ext2", ClassFileSystem, "ext2", 64 * mib, tool("mkfs.ext2", "-q", "-F", "-L", "label")},
	{"ext3", ClassFileSystem, "ext3", 64 * mib, tool("mkfs.ext3", "-q", "-F", "-L", "label")},
	{"ext4", ClassFileSystem, "ext4", 64 * mib, tool("mkfs.ext4", "-q", "-F", "-L", "label")},
	{"xfs", ClassFileSystem, "xfs", 320 * mib, tool("mkfs.xfs", "-q", "-L", "label")},
	{"btrfs", ClassFileSystem, "btrfs", 128 * mib, tool("mkfs.btrfs", "-q", "-L", "label")},
	{"vfat", ClassFileSystem, "vfat", 64 * mib, tool("mkfs.vfat")},
	{"swap", ClassSwap, "swap", 8 * mib, tool("mkswap", "-L", "label")},
	{"LVM", ClassLVM, "LVM2_member", 16 * mib, func(t *testing.T, d disk) {
		run(t, "pvcreate", "-y", "--config", fmt.Sprintf(`devices { use_devicesfile=0 filter=["a|^%s$|","r|.*|"] }`, d.path), d.path)
	}},
	{"LUKS1", ClassLUKS, "crypto_LUKS", 32 * mib, luksFormat("luks1")},
	{"LUKS2", ClassLUKS, "crypto_LUKS", 32 * mib, luksFormat("luks2")},
	{"GPT", ClassPartitionTable, "gpt", 16 * mib, tool("sgdisk", "-n", "1:0:0")},
	{"GPT backup only", ClassPartitionTable, "gpt", 16 * mib, func(t *testing.T, d disk) {
		run(t, "sgdisk", "-n", "1:0:0", d.path)
		d.put(t, 0, strings.Repeat("\x00", 34*512))
	}},
	{"MBR", ClassPartitionTable, "dos", 16 * mib, func(t *testing.T, d disk) {
		run(t, "sh", "-c", "echo 'label: dos\n,,83' | sfdisk -q --no-reread --no-tell-kernel "+d.path)
	}},
	{"RAID 1.0", ClassRAID, "linux_raid_member", 16 * mib, func(t *testing.T, d disk) { d.put(t, md10(16 * mib)[0], mdSuper(md10(16 * mib)[0])) }},
	{"RAID 1.1", ClassRAID, "linux_raid_member", 16 * mib, func(t *testing.T, d disk) { d.put(t, 0, mdSuper(0)) }},
	{"RAID 1.2", ClassRAID, "linux_raid_member", 16 * mib, func(t *testing.T, d disk) { d.put(t, 4096, mdSuper(4096)) }},
	{"RAID 0.90", ClassRAID, "linux_raid_member", 16 * mib, func(t *testing.T, d disk) {
		b := make([]byte, 4096)
		binary.LittleEndian.PutUint32(b, 0xa92b4efc)
		binary.LittleEndian.PutUint32(b[8:], 90)
		copy(b[20:], "abcd")
		copy(b[52:], "efghijklmnop")
		d.put(t, md090(16 * mib)[0], string(b))
	}},
}

func tool(name string, args ...string) func(*testing.T, disk) {
	return func(t *testing.T, d disk) { run(t, name, append(args, d.path)...) }
}

func luksFormat(kind string) func(*testing.T, disk) {
	return func(t *testing.T, d disk) {
		run(t, "sh", "-c", "command -v cryptsetup >/dev/null || exit 0; echo -n secret | cryptsetup luksFormat -q --type "+kind+" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "+d.path+" -")
		run(t, "cryptsetup", "isLuks", d.path)
	}
}

// mdSuper is a struct mdp_superblock_1 as far as anybody checks it.
func mdSuper(at int64) string {
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint32(b, 0xa92b4efc)
	binary.LittleEndian.PutUint32(b[4:], 1)
	copy(b[16:], "0123456789abcdef")
	copy(b[32:], "host:0")
	binary.LittleEndian.PutUint64(b[144:], uint64(at/512))
	return string(b)
}

// A device with any signature on it is never formatted, and not a byte of it changes.
func TestNoSignedDeviceIsEverFormatted(t *testing.T) {
	needFileSystem(t, "ext4")
	for _, c := range signed {
		t.Run(c.name, func(t *testing.T) {
			d, h := newDisk(t, c.size), New(Roots{})
			c.sign(t, d)
			s, err := h.Probe(t.Context(), d.path)
			if err != nil || s.Class != c.class || s.Type != c.kind {
				t.Fatalf("Probe = %+v, %v; want %s %s", s, err, c.class, c.kind)
			}
			if c.name != "GPT backup only" { // blkid says nothing of it
				wantBlkidAgrees(t, d, s)
			}
			before := d.sum(t)
			err = h.Format(t.Context(), FormatRequest{Device: d.path, FileSystem: "ext4", UUID: UUIDFromToken("mine")})
			if !errors.Is(err, ErrNotBlank) {
				t.Errorf("Format = %v, want ErrNotBlank", err)
			}
			wantError(t, err, d.path, c.kind)
			if d.sum(t) != before {
				t.Error("the refused device changed")
			}
		})
	}
}

// wantBlkidAgrees compares with what util-linux reads from the very same device.
func wantBlkidAgrees(t *testing.T, d disk, s Signature) {
	t.Helper()
	if _, err := findTool("blkid"); err != nil {
		return
	}
	export := run(t, "blkid", "-p", "-o", "export", d.path)
	for line := range strings.Lines(export) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case key == "TYPE" || key == "PTTYPE":
			if value != s.Type {
				t.Errorf("blkid: %s=%s, Probe: %s", key, value, s.Type)
			}
		case key == "UUID" && s.Type == "vfat":
		case key == "UUID" && s.UUID != "" || key == "PTUUID" && s.Type == "gpt":
			if !strings.EqualFold(value, s.UUID) {
				t.Errorf("blkid: %s=%s, Probe: %s", key, value, s.UUID)
			}
		case key == "LABEL" && s.Class != ClassRAID && s.Type != "vfat":
			if value != s.Label {
				t.Errorf("blkid: LABEL=%s, Probe: %s", value, s.Label)
			}
		}
	}
}

// Every magic at every one of its places makes an image that is not blank and is known by its class.
func TestEveryKnownMagicIsSeenAtItsPlaces(t *testing.T) {
	const size = 80 * mib
	for _, p := range probes {
		for i, at := range p.places(size) {
			if at < 0 || at >= size || i > 3 && p.name == "zfs_member" && i%64 != 0 {
				continue
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "image"))
			must(t, err)
			must(t, f.Truncate(size))
			_, err = f.WriteAt([]byte(p.magic), at)
			must(t, err)
			s, err := probeFile(f)
			f.Close()
			if err != nil || s.Blank() || s.Class != p.class {
				t.Errorf("%s at %d: Probe = %+v, %v", p.name, at, s, err)
			}
		}
	}
}

func TestBlankMeansZerosEverywhereThatMatters(t *testing.T) {
	const size = 80 * mib
	path := filepath.Join(t.TempDir(), "image")
	h := New(Roots{})
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, size))
	if s, err := h.Probe(t.Context(), path); err != nil || !s.Blank() {
		t.Fatalf("Probe of zeros = %+v, %v", s, err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	places := []int64{0, mustBeZero - 1, size - 1, size - mustBeZero, 64<<20 + 0x40}
	for range 20 {
		places = append(places, random.Int64N(mustBeZero), size-1-random.Int64N(mustBeZero))
	}
	for _, at := range places {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte{1}, at)
		must(t, err)
		s, err := h.Probe(t.Context(), path)
		if err != nil || s.Class != ClassUnknown || s.Offset != at {
			t.Errorf("one byte at %d: Probe = %+v, %v", at, s, err)
		}
		_, err = f.WriteAt([]byte{0}, at)
		must(t, err)
		f.Close()
	}
}

func TestProbeOfSmallAndEmptyImages(t *testing.T) {
	dir, h := t.TempDir(), New(Roots{})
	empty, small := filepath.Join(dir, "empty"), filepath.Join(dir, "small")
	must(t, os.WriteFile(empty, nil, 0o600))
	must(t, os.WriteFile(small, make([]byte, 100), 0o600))
	_, err := h.Probe(t.Context(), empty)
	wantError(t, err, empty, "no size")
	if s, err := h.Probe(t.Context(), small); err != nil || !s.Blank() {
		t.Errorf("Probe of 100 zeros = %+v, %v", s, err)
	}
	_, err = h.Probe(t.Context(), filepath.Join(dir, "none"))
	wantError(t, err, "cannot probe", "none")
}

// withBadSector is an image with a sector that cannot be read.
type withBadSector struct {
	image []byte
	bad   int64
}

func (d withBadSector) ReadAt(b []byte, at int64) (int, error) {
	if at <= d.bad && d.bad < at+int64(len(b)) {
		return 0, errors.New("medium error")
	}
	return copy(b, d.image[at:]), nil
}

func TestAReadErrorIsNeverBlank(t *testing.T) {
	for _, bad := range []int64{0, 8192, mustBeZero - 1, 7 * mib, 8*mib - 1} {
		if s, err := identify(withBadSector{make([]byte, 8*mib), bad}, 8*mib, func(byteRange) {}); err == nil {
			t.Errorf("bad at %d: identify = %v; want an error", bad, s)
		}
	}
}

// A device that is taken off while it is read has no end any more, and is not blank.
func TestADeviceThatBecomesShorterIsNeverBlank(t *testing.T) {
	for _, left := range []int{0, 100, mustBeZero, 4 * mib} {
		if s, err := identify(bytes.NewReader(make([]byte, left)), 8*mib, func(byteRange) {}); err == nil {
			t.Errorf("%d bytes left: identify = %v; want an error", left, s)
		}
	}
}

func TestABadSectorDoesNotHideASignature(t *testing.T) {
	image := make([]byte, 8*mib)
	copy(image[0x10000+64:], "_BHRfS_M")
	for _, bad := range []int64{0x4000, 0x20000, 7*mib + 5} { // before, after and at the other end
		if s, err := identify(withBadSector{image, bad}, 8*mib, func(byteRange) {}); err != nil || s.Type != "btrfs" {
			t.Errorf("bad at %d: identify = %v, %v; want btrfs", bad, s, err)
		}
	}
}

// countingReader counts what is read of an image.
type countingReader struct {
	image []byte
	read  int
}

func (c *countingReader) ReadAt(b []byte, at int64) (int, error) {
	c.read += len(b)
	return copy(b, c.image[at:]), nil
}

// A volume fresh from a snapshot fetches what is read of it from far away. Half a MiB is enough to know its file
// system; a blank device is read whole where it tells, and the kernel is told so beforehand.
func TestLittleIsReadOfAFileSystem(t *testing.T) {
	for _, c := range []struct {
		name, magic string
		at          int
	}{{"xfs", "XFSB", 0}, {"btrfs", "_BHRfS_M", 0x10000 + 64}, {"ext4", "\x53\xef", 0x438}} {
		d := &countingReader{image: make([]byte, 80*mib)}
		copy(d.image[c.at:], c.magic)
		if c.name == "ext4" {
			d.image[0x400+96] = 0x40 // extents
		}
		soon := 0
		s, err := identify(d, 80*mib, func(byteRange) { soon++ })
		if err != nil || s.Type != c.name {
			t.Fatalf("identify = %v, %v; want %s", s, err, c.name)
		}
		if d.read > 512<<10 || soon > 0 && c.at < readSize {
			t.Errorf("%s: %d KiB were read, and %d parts ahead", c.name, d.read>>10, soon)
		}
	}
	blank, told := &countingReader{image: make([]byte, 80*mib)}, int64(0)
	if s, err := identify(blank, 80*mib, func(s byteRange) { told += s.n }); err != nil || !s.Blank() || blank.read < 2*mib || told != int64(blank.read) {
		t.Errorf("blank: %v, %v; %d bytes were read, %d announced", s, err, blank.read, told)
	}
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte("XFSB"), uint32(0))
	f.Add([]byte("LABELONE"), uint32(512))
	f.Add([]byte("\x53\xef"), uint32(0x438))
	f.Fuzz(func(t *testing.T, b []byte, at uint32) {
		image := make([]byte, 2*mib)
		n := copy(image[int(at)%len(image):], b)
		s, err := identify(bytes.NewReader(image), int64(len(image)), func(byteRange) {})
		if err != nil {
			t.Fatal(err)
		}
		if s.Blank() != allZero(b[:n]) {
			t.Errorf("blank = %v, but zeros = %v", s.Blank(), allZero(b[:n]))
		}
	})
}
