package steps

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"snaptastic/linux"
	"snaptastic/plan"
)

func TestWhatIsFormattedAndWhatIsNot(t *testing.T) {
	fresh := Volume{VolumeID: "vol-1", Created: true, Empty: true}
	restored := Volume{VolumeID: "vol-1", Created: true, SnapshotID: "snap-1"}
	adopted := Volume{VolumeID: "vol-1"}
	mine := linux.UUIDFromToken(attempt("").Token)
	xfs := linux.Signature{Class: linux.ClassFileSystem, Type: "xfs", UUID: "other"}
	sig := func(class, kind, uuid string) linux.Signature {
		return linux.Signature{Class: class, Type: kind, UUID: uuid}
	}
	mounted := map[string]linux.Device{"/mnt/a": {Path: "/dev/nvme1n1", Major: 259, Minor: 1}}
	cases := []struct {
		name    string
		volume  Volume
		has     linux.Signature
		err     error
		resumed bool
		mounts  map[string]linux.Device
		state   plan.ObservedState // "" for an error
		message string
	}{
		{"new and blank", fresh, linux.Signature{}, nil, false, nil, plan.Absent, ""},
		{"new and blank, again", fresh, linux.Signature{}, nil, true, nil, plan.Absent, ""},
		{"new, our own half-made file system", fresh, sig(linux.ClassFileSystem, "xfs", mine), nil, true, nil, plan.Absent, "formatting again"},
		{"new, our own unfinished mark", fresh, sig(linux.ClassUnfinished, "xfs", mine), nil, true, nil, plan.Absent, "formatting again"},
		{"new, our UUID though we never began", fresh, sig(linux.ClassFileSystem, "xfs", mine), nil, false, nil, plan.Conflict, "not formatting it"},
		{"new, a foreign file system", fresh, xfs, nil, true, nil, plan.Conflict, "not formatting it"},
		{"new, swap", fresh, sig(linux.ClassSwap, "swap", ""), nil, false, nil, plan.Conflict, "swap"},
		{"new, LVM", fresh, sig(linux.ClassLVM, "LVM2_member", ""), nil, false, nil, plan.Conflict, "LVM2_member"},
		{"new, LUKS", fresh, sig(linux.ClassLUKS, "crypto_LUKS", ""), nil, false, nil, plan.Conflict, "crypto_LUKS"},
		{"new, RAID", fresh, sig(linux.ClassRAID, "linux_raid_member", ""), nil, false, nil, plan.Conflict, "linux_raid_member"},
		{"new, GPT", fresh, sig(linux.ClassPartitionTable, "gpt", ""), nil, false, nil, plan.Conflict, "gpt"},
		{"new, MBR", fresh, sig(linux.ClassPartitionTable, "dos", ""), nil, false, nil, plan.Conflict, "dos"},
		{"new, data nobody knows", fresh, sig(linux.ClassUnknown, "", ""), nil, false, nil, plan.Conflict, "unknown data"},
		{"restored, as declared", restored, xfs, nil, false, nil, plan.Satisfied, "restored from snap-1"},
		{"restored, of another type", restored, sig(linux.ClassFileSystem, "ext4", ""), nil, false, nil, plan.Satisfied, "keeping its ext4, although the settings say xfs"},
		{"restored and blank", restored, linux.Signature{}, nil, false, nil, "", "restored from snap-1 and is blank"},
		{"restored, with partitions", restored, sig(linux.ClassPartitionTable, "gpt", ""), nil, false, nil, "", "instead of a file system"},
		{"adopted, with three partitions", adopted, linux.Signature{Class: linux.ClassPartitionTable, Type: "gpt", Partitions: 3}, nil, false, nil, "", "a partition table (gpt) with 3 partitions"},
		{"adopted, with one", adopted, linux.Signature{Class: linux.ClassPartitionTable, Type: "gpt", Partitions: 1, OnlyNumber: 1, Only: &xfs}, nil, false, nil, plan.Satisfied, "on partition 1, the only one"},
		{"adopted, with one of LVM", adopted, linux.Signature{Class: linux.ClassPartitionTable, Type: "dos", Partitions: 1, OnlyNumber: 1, Only: &linux.Signature{Class: linux.ClassLVM, Type: "LVM2_member"}}, nil, false, nil, "", "whose only partition contains LVM2_member"},
		{"adopted, LUKS", adopted, sig(linux.ClassLUKS, "crypto_LUKS", ""), nil, false, nil, "", "cannot use vol-1"},
		{"restored, swap", restored, sig(linux.ClassSwap, "swap", ""), nil, false, nil, "", "swap space"},
		{"adopted, RAID", adopted, sig(linux.ClassRAID, "linux_raid_member", ""), nil, false, nil, "", "a RAID member"},
		{"adopted", adopted, xfs, nil, false, nil, plan.Satisfied, "adopted vol-1"},
		{"adopted and blank", adopted, linux.Signature{}, nil, false, nil, "", "this run did not create it"},
		{"adopted, another run's unfinished work", adopted, sig(linux.ClassUnfinished, "xfs", "other"), nil, false, nil, "", "this run did not create it"},
		{"mounted", adopted, linux.Signature{}, &linux.BusyError{Target: "/dev/nvme1n1"}, false, mounted, plan.Satisfied, "mounted on /mnt/a"},
		{"busy, and not mounted", fresh, linux.Signature{}, linux.ErrDeviceBusy, false, nil, plan.Conflict, "in use"},
		{"the device is gone", fresh, linux.Signature{}, &os.PathError{Op: "open", Path: "/dev/nvme1n1", Err: fs.ErrNotExist}, true, nil, plan.Absent, ""},
		{"cannot be read", fresh, linux.Signature{}, errors.New("input/output error"), false, nil, "", "input/output error"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.err != nil && errors.As(c.err, new(*linux.BusyError)) {
				c.err = errors.Join(linux.ErrDeviceBusy, c.err)
			}
			w := &Env{Host: &fakeHost{mounts: c.mounts, probe: func(string) (linux.Signature, error) { return c.has, c.err }}}
			a := attempt("mkfs-or-skip:/mnt/a")
			a.Resumed = c.resumed
			in := MkfsOrSkipIn{Volume: plan.Literal(c.volume), Device: plan.Literal(DeviceNode{VolumeID: "vol-1", Path: "/dev/nvme1n1", Major: 259, Minor: 1}), FileSystem: "xfs"}
			seen, err := w.mkfsOrSkip().Observe(t.Context(), a, in)
			if (err == nil) != (c.state != "") || seen.State != c.state {
				t.Fatalf("saw %q, error %v; want %q", seen.State, err, c.state)
			}
			said := seen.Note
			if err != nil {
				said = err.Error()
			}
			if !strings.Contains(said, c.message) {
				t.Errorf("said %q, want %q in it", said, c.message)
			}
		})
	}
}

func TestOnlyWhatThisRunMadeEmptyIsEverFormatted(t *testing.T) {
	formatted := 0
	w := &Env{Host: &fakeHost{format: func(linux.FormatRequest) error { formatted++; return nil }}}
	for _, v := range []Volume{{VolumeID: "vol-1"}, {VolumeID: "vol-1", Created: true, SnapshotID: "snap-1"}, {VolumeID: "vol-1", Empty: true}} {
		in := MkfsOrSkipIn{Volume: plan.Literal(v), Device: plan.Literal(DeviceNode{Path: "/dev/x"}), FileSystem: "xfs"}
		if _, err := w.mkfsOrSkip().Do(t.Context(), attempt("mkfs"), in); err == nil || formatted > 0 {
			t.Errorf("%+v was formatted", v)
		}
	}
	in := MkfsOrSkipIn{Volume: plan.Literal(Volume{VolumeID: "vol-1", Created: true, Empty: true}), Device: plan.Literal(DeviceNode{Path: "/dev/x"}), FileSystem: "xfs"}
	if _, err := w.mkfsOrSkip().Do(t.Context(), attempt("mkfs"), in); err != nil || formatted != 1 {
		t.Errorf("formatted %d times, error %v; want once", formatted, err)
	}
}

// A reboot gives NVMe devices new numbers, and a step that was cut off
// keeps the input that it began with.
func TestAfterARebootTheVolumeIsFormattedAndNotItsOldName(t *testing.T) {
	var probed, formatted string
	w := &Env{Host: &fakeHost{
		nitro:  map[string]linux.Device{"vol-1": {VolumeID: "vol-1", Path: "/dev/nvme2n1", Major: 259, Minor: 2}, "vol-2": {VolumeID: "vol-2", Path: "/dev/nvme1n1", Major: 259, Minor: 1}},
		probe:  func(path string) (linux.Signature, error) { probed = path; return linux.Signature{}, nil },
		format: func(r linux.FormatRequest) error { formatted = r.Device; return nil },
	}}
	a := attempt("mkfs-or-skip:/mnt/a")
	a.Resumed = true
	in := MkfsOrSkipIn{Volume: plan.Literal(Volume{VolumeID: "vol-1", Created: true, Empty: true}), FileSystem: "xfs",
		Device: plan.Literal(DeviceNode{VolumeID: "vol-1", Path: "/dev/nvme1n1", Major: 259, Minor: 1})}
	if seen, err := w.mkfsOrSkip().Observe(t.Context(), a, in); err != nil || seen.State != plan.Absent {
		t.Errorf("saw %q, error %v", seen.State, err)
	}
	if _, err := w.mkfsOrSkip().Do(t.Context(), a, in); err != nil {
		t.Error(err)
	}
	if probed != "/dev/nvme2n1" || formatted != "/dev/nvme2n1" {
		t.Errorf("probed %s and formatted %s, which is vol-2 now; vol-1 is /dev/nvme2n1", probed, formatted)
	}
}

// Where devices tell their volumes, a name from before the reboot is nobody's:
// what answers to it now may be another volume, and blank as well.
func TestAVolumeWhoseDeviceIsGoneIsNotFormattedByItsOldName(t *testing.T) {
	touched := ""
	w := &Env{Host: &fakeHost{
		nitro:  map[string]linux.Device{"vol-2": {VolumeID: "vol-2", Path: "/dev/nvme1n1", Major: 259, Minor: 1}},
		probe:  func(path string) (linux.Signature, error) { touched = path; return linux.Signature{}, nil },
		format: func(r linux.FormatRequest) error { touched = r.Device; return nil },
	}}
	a := attempt("mkfs-or-skip:/mnt/a")
	a.Resumed = true
	in := MkfsOrSkipIn{Volume: plan.Literal(Volume{VolumeID: "vol-1", Created: true, Empty: true}), FileSystem: "xfs",
		Device: plan.Literal(DeviceNode{VolumeID: "vol-1", Path: "/dev/nvme1n1", Major: 259, Minor: 1, BySerial: true})}
	if seen, err := w.mkfsOrSkip().Observe(t.Context(), a, in); err != nil || seen.State != plan.Absent {
		t.Errorf("saw %q, error %v", seen.State, err)
	}
	if _, err := w.mkfsOrSkip().Do(t.Context(), a, in); err == nil || !strings.Contains(err.Error(), "vol-1") {
		t.Errorf("formatting vol-1, which is not there, gave %v", err)
	}
	if touched != "" {
		t.Errorf("%s was touched, which is vol-2 now", touched)
	}
}
