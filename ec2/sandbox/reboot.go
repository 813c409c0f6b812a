package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Reboot does to the instance what a reboot does, as far as volumes go: every
// mount of its devices is gone, children first, a frozen file system thaws, the
// boot id is another one, and the kernel renumbers the NVMe devices, so that
// /dev/nvme1n1 may be another volume than before. EC2's attachments stay. A
// mount that some process uses is an error, since here nothing ends that process.
func Reboot(dir string) error {
	if err := reboot(dir); err != nil {
		return fmt.Errorf("cannot reboot the sandbox in %s: %w", dir, err)
	}
	return nil
}

func reboot(dir string) error {
	root, here, name := splitMachine(dir)
	root, unlock, err := lockSandbox(root)
	if err != nil {
		return err
	}
	records := store{path: filepath.Join(root, "world.jsonl")}
	_, err = records.catchUp()
	if err == nil {
		err = errors.Join(records.close(), unmountSandbox(root, func(id string) bool { return isOn(records.rows.Volumes[id], here, name) }))
	}
	if err == nil {
		dir = machineDir(root, here.key(), name)
		err = errors.Join(os.MkdirAll(dir, 0o700), renewBootID(dir))
	}
	unlock()
	if err != nil || records.rows.Settings == nil {
		return err
	}
	w, err := open(Config{Dir: dir, FilesOnly: records.rows.Settings.FilesOnly})
	if err != nil {
		return err
	}
	return errors.Join(w.transact(renumber), w.Close())
}

// isOn says whether a volume's device is the machine's. One without a record is nobody's else.
func isOn(v *Volume, in World, name string) bool {
	return v == nil || v.In == in.key() && v.Attachment != nil && v.Attachment.Machine == name
}

// renumber turns the order of the attached volumes' NVMe numbers around.
func renumber(t *tx) error {
	var attached []*Volume
	for v := range t.volumes() {
		if a := v.Attachment; a != nil && a.Published && a.Machine == t.w.machine {
			attached = append(attached, v)
		}
	}
	slices.SortFunc(attached, func(a, b *Volume) int { return b.Attachment.NVMe - a.Attachment.NVMe })
	for n, v := range attached {
		if err := unpublish(t.w.rootsAt(v), v); err != nil {
			return err
		}
		v = t.editVolume(v.ID)
		v.Attachment.NVMe = n + 1
		t.after = append(t.after, func() error { return t.w.growDevice(v) })
	}
	return nil
}

// hostBootID is the real kernel's boot id, "" where there is none.
func hostBootID() string {
	content, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(content))
}

// renewBootID writes a fresh random UUID, in the kernel's format.
func renewBootID(dir string) error {
	u := make([]byte, 16)
	rand.Read(u) // never fails (crypto/rand)
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	id := fmt.Sprintf("%x-%x-%x-%x-%x\n", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	if err := writeFile(filepath.Join(dir, "boot_id"), id); err != nil {
		return fmt.Errorf("cannot change the boot id: %w", err)
	}
	return nil
}
