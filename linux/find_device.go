package linux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FindDevice returns the device that q describes, and whether it is there. On Nitro the NVMe serial decides; links under
// /dev/disk/by-id are never believed, since they can outlive the device they were made for. On a host that shows no EBS
// serial (Xen, emulated disks) the name decides. Two different devices that match are ErrAmbiguous.
func (h *Host) FindDevice(ctx context.Context, q DeviceQuery) (Device, bool, error) {
	if err := ctx.Err(); err != nil {
		return Device{}, false, err
	}
	dev, found, _, err := h.find(q)
	if err != nil {
		return Device{}, false, fmt.Errorf("cannot find the device of %s: %w", q, err)
	}
	return dev, found, nil
}

// find also says what it saw, for the error of a wait that ends in vain.
func (h *Host) find(q DeviceQuery) (dev Device, found bool, saw []string, err error) {
	if q.VolumeID == "" && q.Name == "" {
		return Device{}, false, nil, errors.New("internal error: neither volume id nor device name given")
	}
	serials, err := h.serials()
	if err != nil {
		return Device{}, false, nil, err
	}
	var matches []Device
	nitro := false
	for _, name := range slices.Sorted(maps.Keys(serials)) {
		id := volumeIDOf(serials[name])
		nitro = nitro || id != ""
		saw = append(saw, name+" with serial "+serials[name])
		if q.VolumeID == "" || id != q.VolumeID {
			continue
		}
		d, err := openDevice(filepath.Join(h.dev, name))
		if os.IsNotExist(err) {
			saw = append(saw, name+" in sysfs but no node "+filepath.Join(h.dev, name)+" yet")
			continue
		}
		if err != nil {
			return Device{}, false, saw, err
		}
		if d.Size == 0 { // its capacity is not known to the kernel yet
			saw = append(saw, name+" without a size")
			continue
		}
		d.Serial, d.VolumeID = serials[name], id
		matches = append(matches, d)
	}
	if len(matches) == 0 && q.Name != "" {
		byName, sawNames, err := h.findByName(q, serials, nitro)
		saw = append(saw, sawNames...)
		if err != nil {
			return Device{}, false, saw, err
		}
		matches = byName
	}
	saw = append(saw, h.staleLinks(q.VolumeID, serials)...)
	dev, found, err = onlyOne(matches)
	return dev, found, saw, err
}

// findByName looks for the names that a kernel may give the EC2 device name. A node that turns out to be an NVMe device
// (a link made by a udev rule) counts only when its serial is the wanted one. On a host with EBS serials a node without
// serial cannot be an EBS volume, so it is passed over.
func (h *Host) findByName(q DeviceQuery, serials map[string]string, nitro bool) (matches []Device, saw []string, err error) {
	names, err := shownNames(q.Name, q.NameOffset)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		node := filepath.Join(h.dev, name)
		d, err := openDevice(node)
		if os.IsNotExist(err) {
			saw = append(saw, "no "+node)
			continue
		}
		if err != nil {
			return nil, saw, err
		}
		d.Serial = h.serialOf(d, serials)
		d.VolumeID = volumeIDOf(d.Serial)
		switch {
		case d.Size == 0:
			saw = append(saw, node+" without a size")
		case q.VolumeID != "" && d.VolumeID != "" && d.VolumeID != q.VolumeID:
			saw = append(saw, fmt.Sprintf("%s, which is %s (%s)", node, d.Path, d.VolumeID))
		case nitro && d.VolumeID == "":
			saw = append(saw, fmt.Sprintf("%s, which has no EBS serial", node))
		case q.wrongSize(d):
			saw = append(saw, fmt.Sprintf("%s, which has no serial and %d bytes (the volume has %d)", node, d.Size, q.Size))
		case d.VolumeID == "" && h.findRival(q) != "":
			saw = append(saw, fmt.Sprintf("%s, which has no serial and could also be %s under a shifted name: set device_name_offset (0 if this kernel does not shift names)", node, h.findRival(q)))
		default:
			matches = append(matches, d)
		}
	}
	return matches, saw, nil
}

// wrongSize: without a serial the size is all that tells two volumes apart, and a shifted name is another volume's.
func (q DeviceQuery) wrongSize(d Device) bool {
	return d.VolumeID == "" && q.Size > 0 && d.Size > 0 && d.Size != q.Size
}

// xenShift is by how many letters kernels move names that begin at xvde: the root's /dev/sda1 is xvde1 there.
const xenShift = 4

// RivalNames returns which of others a kernel that shifts its names would show under those of name.
func RivalNames(name string, others []string) (rivals []string) {
	names, err := shownNames(name, 0)
	for _, o := range others {
		shifted, shiftErr := kernelNames(o, xenShift)
		if err == nil && shiftErr == nil && slices.Contains(names, shifted[0]) {
			rivals = append(rivals, o)
		}
	}
	return rivals
}

// findRival returns the rival that is not there under its own name, so that its own may be a shifted one; "" for none.
func (h *Host) findRival(q DeviceQuery) string {
	for _, r := range q.Rivals {
		names, err := shownNames(r, 0)
		if err == nil && !slices.ContainsFunc(names, func(n string) bool { _, there := lookupNode(filepath.Join(h.dev, n)); return there }) {
			return r
		}
	}
	return ""
}

// serialOf finds the NVMe serial of a device by its node, whatever the path it was reached by.
func (h *Host) serialOf(d Device, serials map[string]string) string {
	for name, serial := range serials {
		if o, err := openDevice(filepath.Join(h.dev, name)); err == nil && o.Same(d) {
			return serial
		}
	}
	return ""
}

// staleLinks names by-id links that promise the volume but lead to another device: the operator who looked at
// /dev/disk/by-id wants to know why they were not followed.
func (h *Host) staleLinks(volumeID string, serials map[string]string) (saw []string) {
	if volumeID == "" {
		return nil
	}
	links, _ := filepath.Glob(filepath.Join(h.dev, "disk/by-id/nvme-Amazon_Elastic_Block_Store_"+strings.Replace(volumeID, "-", "", 1)+"*"))
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || volumeIDOf(serials[filepath.Base(to)]) == volumeID {
			continue
		}
		saw = append(saw, fmt.Sprintf("stale link %s to %s, which is not %s", link, filepath.Base(to), volumeID))
	}
	return saw
}

func onlyOne(matches []Device) (Device, bool, error) {
	if len(matches) == 0 {
		return Device{}, false, nil
	}
	for _, m := range matches[1:] {
		if !m.Same(matches[0]) {
			return Device{}, false, fmt.Errorf("%s and %s: %w", matches[0].Path, m.Path, ErrAmbiguous)
		}
	}
	return matches[0], true, nil
}
