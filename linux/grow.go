package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// GrowResult tells the size of a file system in bytes, as its superblock has it.
type GrowResult struct {
	Grown         bool
	Before, After int64
}

// growSlack: every file system leaves a remainder that does not fill its unit (an allocation group, a block group); EBS
// sizes differ by a GiB at least.
const growSlack = 16 << 20

// Growable reports whether the device is larger than the file system on it. It only looks. ErrCannotGrow when it is, and the
// file system is of a type that the kernel cannot grow while mounted.
func (h *Host) Growable(ctx context.Context, dev Device, m Mount) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	size, err := fsSize(dev, m)
	if errors.Is(err, ErrCannotGrow) {
		// Without knowing its superblock, the usage tells enough to be quiet about a file system that fills its device.
		if total, _, usageErr := h.Usage(m.Target); usageErr == nil && int64(total) > dev.Size-dev.Size/10 {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("cannot determine whether %s fills %s: %w", m.Target, dev.Path, err)
	}
	return dev.Size-size > growSlack, nil
}

// Grow enlarges the mounted file system to its device, with the kernel's own ioctl: no tool is needed. A file system that
// fills its device is left alone.
func (h *Host) Grow(ctx context.Context, dev Device, m Mount) (GrowResult, error) {
	fail := func(err error) (GrowResult, error) {
		return GrowResult{}, fmt.Errorf("cannot grow %s on %s: %w", m.FileSystem, m.Target, err)
	}
	// The device may have grown after the caller looked at it.
	if now, err := openDevice(dev.Path); err == nil && now.Same(dev) {
		dev.Size = now.Size
	}
	growable, err := h.Growable(ctx, dev, m)
	if err != nil {
		return fail(err)
	}
	before, err := fsSize(dev, m)
	if err != nil && !errors.Is(err, ErrCannotGrow) {
		return fail(err)
	}
	result := GrowResult{Before: before, After: before}
	if !growable {
		return result, nil
	}
	f, err := os.Open(m.Target)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	known, _ := fileSystemOf(m.FileSystem) // fsSize has found it
	if err := known.grow(dev, f); err != nil {
		return fail(err)
	}
	if result.After, err = fsSize(dev, m); err != nil {
		return fail(err)
	}
	result.Grown = result.After > result.Before
	return result, nil
}

// fsSize asks the mounted file system how many bytes of its device it uses.
func fsSize(dev Device, m Mount) (int64, error) {
	known, _ := fileSystemOf(m.FileSystem)
	if known.size == nil {
		return 0, fmt.Errorf("%s: %w", m.FileSystem, ErrCannotGrow)
	}
	f, err := os.Open(m.Target)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return known.size(dev, f)
}

// extSize: the kernel keeps ext's superblock in the device's own page cache, so reading the device gives the live one.
func extSize(dev Device, _ *os.File) (int64, error) {
	blocks, blockSize, err := extGeometry(dev)
	return blocks * blockSize, err
}

func xfsSize(_ Device, f *os.File) (int64, error) {
	g, err := xfsGeometry(f)
	return int64(g.DataBlocks) * int64(g.BlockSize), err
}

func btrfsSize(_ Device, f *os.File) (int64, error) {
	d, err := btrfsDevice(f)
	return int64(d.TotalBytes), err
}

// extGeometry reads struct ext4_super_block: block count (high half only with the feature 64bit) and block size.
func extGeometry(dev Device) (blocks, blockSize int64, err error) {
	f, err := os.Open(dev.Path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	sb := make([]byte, 1024)
	if _, err := f.ReadAt(sb, 1024); err != nil {
		return 0, 0, err
	}
	if binary.LittleEndian.Uint16(sb[0x38:]) != 0xef53 {
		return 0, 0, fmt.Errorf("no ext superblock on %s", dev.Path)
	}
	const incompat64bit = 0x80
	blocks = int64(binary.LittleEndian.Uint32(sb[0x4:]))
	if binary.LittleEndian.Uint32(sb[0x60:])&incompat64bit != 0 {
		blocks |= int64(binary.LittleEndian.Uint32(sb[0x150:])) << 32
	}
	return blocks, 1024 << binary.LittleEndian.Uint32(sb[0x18:]), nil
}

// growExt: EXT4_IOC_RESIZE_FS takes the new number of blocks (fs/ext4/ioctl.c); resize2fs does no more when mounted.
func growExt(dev Device, f *os.File) error {
	_, blockSize, err := extGeometry(dev)
	if err != nil {
		return err
	}
	blocks := uint64(dev.Size / blockSize)
	err = ioctl(f, iow('f', 16, unsafe.Sizeof(blocks)), unsafe.Pointer(&blocks))
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: this needs CAP_SYS_RESOURCE and a file system without errors (%v)", ErrCannotGrow, err)
	}
	return err
}

// xfsGeom is struct xfs_fsop_geom_v1 (fs/xfs/libxfs/xfs_fs.h), as far as it is used.
type xfsGeom struct {
	BlockSize, RTExtSize, AGBlocks, AGCount, LogBlocks, SectSize, InodeSize, IMaxPct uint32
	DataBlocks                                                                       uint64
	_                                                                                [112 - 40]byte
}

func xfsGeometry(f *os.File) (g xfsGeom, err error) {
	err = ioctl(f, ior('X', 100, unsafe.Sizeof(g)), unsafe.Pointer(&g))
	return g, err
}

// growXFS: XFS_IOC_FSGROWFSDATA with the old limit of inode space kept, as xfs_growfs does.
func growXFS(dev Device, f *os.File) error {
	g, err := xfsGeometry(f)
	if err != nil {
		return err
	}
	grow := struct {
		NewBlocks uint64
		IMaxPct   uint32
		_         uint32
	}{uint64(dev.Size) / uint64(g.BlockSize), g.IMaxPct, 0}
	return ioctl(f, iow('X', 110, unsafe.Sizeof(grow)), unsafe.Pointer(&grow))
}

// btrfsDevInfo is struct btrfs_ioctl_dev_info_args (include/uapi/linux/btrfs.h).
type btrfsDevInfo struct {
	DevID                 uint64
	UUID                  [16]byte
	BytesUsed, TotalBytes uint64
	_                     [4096 - 40]byte
}

// btrfsDevice returns the one device of the file system; one that spans several is not one volume.
func btrfsDevice(f *os.File) (d btrfsDevInfo, err error) {
	var info struct { // struct btrfs_ioctl_fs_info_args
		MaxID, NumDevices uint64
		_                 [1024 - 16]byte
	}
	if err := ioctl(f, ior(0x94, 31, unsafe.Sizeof(info)), unsafe.Pointer(&info)); err != nil {
		return d, err
	}
	if info.NumDevices != 1 {
		return d, fmt.Errorf("btrfs spans %d devices: %w", info.NumDevices, ErrNotVolume)
	}
	d.DevID = info.MaxID
	err = ioctl(f, iowr(0x94, 30, unsafe.Sizeof(d)), unsafe.Pointer(&d))
	return d, err
}

// growBtrfs: BTRFS_IOC_RESIZE takes words, "ID:max".
func growBtrfs(_ Device, f *os.File) error {
	d, err := btrfsDevice(f)
	if err != nil {
		return err
	}
	var args struct { // struct btrfs_ioctl_vol_args
		FD   int64
		Name [4088]byte
	}
	copy(args.Name[:], fmt.Sprintf("%d:max", d.DevID))
	return ioctl(f, iow(0x94, 3, unsafe.Sizeof(args)), unsafe.Pointer(&args))
}

// ioctl request numbers (include/uapi/asm-generic/ioctl.h; the same on amd64 and arm64).
func ioc(direction, kind, number, size uintptr) uintptr {
	return direction<<30 | size<<16 | kind<<8 | number
}
func iow(kind, number, size uintptr) uintptr  { return ioc(1, kind, number, size) }
func ior(kind, number, size uintptr) uintptr  { return ioc(2, kind, number, size) }
func iowr(kind, number, size uintptr) uintptr { return ioc(3, kind, number, size) }

func ioctl(f *os.File, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
