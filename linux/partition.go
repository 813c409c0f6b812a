package linux

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Partition is one partition as the kernel shows it.
type Partition struct {
	Device
	Number int
}

// partitionsOf lists the partitions that the kernel found on a whole device, as sysfs has them, in no order.
func (h *Host) partitionsOf(major, minor uint32) (found []Partition) {
	numbers, _ := filepath.Glob(filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", major, minor), "*", "partition"))
	for _, file := range numbers {
		p, ok := readPartition(filepath.Dir(file))
		if !ok {
			continue // gone since
		}
		p.Path = filepath.Join(h.kernelDev, filepath.Base(filepath.Dir(file)))
		found = append(found, p)
	}
	return found
}

// readPartition reads a partition's directory in sysfs.
func readPartition(folder string) (p Partition, ok bool) {
	number, err := os.ReadFile(filepath.Join(folder, "partition"))
	if err != nil {
		return p, false
	}
	p.Number, _ = strconv.Atoi(strings.TrimSpace(string(number)))
	dev, err := os.ReadFile(filepath.Join(folder, "dev"))
	if err != nil {
		return p, false
	}
	_, err = fmt.Sscanf(strings.TrimSpace(string(dev)), "%d:%d", &p.Major, &p.Minor)
	return p, err == nil
}

// wholeOf returns the numbers of the device that a partition is of, and how many partitions that has; ok is false for what is
// no partition.
func (h *Host) wholeOf(major, minor uint32) (wholeMajor, wholeMinor uint32, count int, ok bool) {
	real, err := filepath.EvalSymlinks(filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", major, minor)))
	if err != nil {
		return 0, 0, 0, false
	}
	if _, is := readPartition(real); !is {
		return 0, 0, 0, false
	}
	dev, err := os.ReadFile(filepath.Join(filepath.Dir(real), "dev"))
	if err != nil {
		return 0, 0, 0, false
	}
	if _, err := fmt.Sscanf(strings.TrimSpace(string(dev)), "%d:%d", &wholeMajor, &wholeMinor); err != nil {
		return 0, 0, 0, false
	}
	return wholeMajor, wholeMinor, len(h.partitionsOf(wholeMajor, wholeMinor)), true
}

// shown lists the partitions of a device, and tells a kernel of them that does not look for them by itself.
func (h *Host) shown(d Device) []Partition {
	parts := h.partitionsOf(d.Major, d.Minor)
	if len(parts) == 0 {
		ShowPartitions(d.Path)
		parts = h.partitionsOf(d.Major, d.Minor)
	}
	return parts
}

// partition returns a device's partition of that number.
func (h *Host) partition(device string, number int) (Partition, error) {
	d, err := openDevice(device)
	if err != nil {
		return Partition{}, err
	}
	for _, p := range h.shown(d) {
		if p.Number == number {
			return p, nil
		}
	}
	return Partition{}, fmt.Errorf("the kernel shows no partition %d of %s (partprobe %s)", number, device, device)
}

// inspect tells what partitions a device with a partition table has, and of a single one what is on it.
func (h *Host) inspect(ctx context.Context, device string, s *Signature) {
	d, err := openDevice(device)
	if err != nil {
		return
	}
	parts := h.shown(d)
	s.Partitions = len(parts)
	if f, err := os.Open(device); err == nil {
		s.Partitions = max(s.Partitions, len(readTable(f)))
		f.Close()
	}
	if len(parts) != 1 || s.Partitions != 1 {
		return
	}
	if on, err := h.Probe(ctx, parts[0].Path); err == nil {
		s.Only, s.OnlyNumber = &on, parts[0].Number
	}
}
