package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// FIEMAP asks a file system where a file's data lies: https://docs.kernel.org/filesystems/fiemap.html, include/uapi/linux/fiemap.h.
const (
	fsIocFiemap = 0xC020660B

	fiemapLast       = 0x0001
	fiemapUnknown    = 0x0002 // no place on the device yet
	fiemapDelalloc   = 0x0004 // still in memory alone
	fiemapEncoded    = 0x0008 // compressed, or encrypted: the length is not that on the device, unless it is encrypted
	fiemapEncrypted  = 0x0080
	fiemapInline     = 0x0200 // in the inode, or shares a block with metadata
	fiemapTail       = 0x0400
	fiemapUnwritten  = 0x0800 // allocated, and reads as zeros without asking the device
	fiemapUnaligned  = 0x0100
	fiemapNotRead    = fiemapUnknown | fiemapDelalloc | fiemapInline | fiemapTail | fiemapUnaligned | fiemapUnwritten
	fiemapBatchCount = 128
)

// fiemapExtent is struct fiemap_extent.
type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// fiemapBatch is struct fiemap with room for its extents.
type fiemapBatch struct {
	start, length         uint64
	flags, mapped, count_ uint32
	_                     uint32
	extents               [fiemapBatchCount]fiemapExtent
}

// extentsOf visits the extents of a file that are worth reading. throughFile: their data has to be read from the file.
func (b *fiemapBatch) extentsOf(fd int, visit func(physical, length, logical int64, throughFile bool)) error {
	for next := uint64(0); ; {
		b.start, b.length, b.flags, b.mapped, b.count_ = next, ^uint64(0)-next, 0, 0, fiemapBatchCount
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocFiemap, uintptr(unsafe.Pointer(b))); errno != 0 {
			return errno
		}
		for i := range b.extents[:min(b.mapped, fiemapBatchCount)] {
			e := &b.extents[i]
			next = e.logical + e.length
			if e.flags&fiemapNotRead == 0 && e.length > 0 {
				encoded := e.flags&fiemapEncoded != 0 && e.flags&fiemapEncrypted == 0
				visit(int64(e.physical), int64(e.length), int64(e.logical), encoded)
			}
			if e.flags&fiemapLast != 0 {
				return nil
			}
		}
		if b.mapped == 0 {
			return nil
		}
	}
}
