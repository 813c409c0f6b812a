package linux

import (
	"bytes"
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extent is a partition as a table has it, in bytes.
type extent struct {
	number    int
	at, bytes int64
}

const (
	sector   = 512
	blkpgAdd = 1 // BLKPG_ADD_PARTITION
)

// readTable reads the partitions of a GPT, or the primary ones of an MBR.
func readTable(f *os.File) (found []extent) {
	mbr := make([]byte, sector)
	if _, err := f.ReadAt(mbr, 0); err != nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return nil
	}
	head := make([]byte, sector)
	if _, err := f.ReadAt(head, sector); err == nil && string(head[:8]) == "EFI PART" {
		return readGPT(f, head)
	}
	for i := range 4 {
		e := mbr[446+16*i:]
		if first, count := binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:]); e[4] != 0 && count > 0 {
			found = append(found, extent{i + 1, int64(first) * sector, int64(count) * sector})
		}
	}
	return found
}

// readGPT reads the entries that a header names (UEFI specification, 5.3).
func readGPT(f *os.File, head []byte) (found []extent) {
	at, count, size := binary.LittleEndian.Uint64(head[72:]), binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	if size < 128 || size > 4096 || count > 1024 || at > 1<<40 {
		return nil
	}
	entry := make([]byte, size)
	for i := range int64(count) {
		if _, err := f.ReadAt(entry, int64(at)*sector+i*int64(size)); err != nil {
			break
		}
		first, last := int64(binary.LittleEndian.Uint64(entry[32:])), int64(binary.LittleEndian.Uint64(entry[40:]))
		if !bytes.Equal(entry[:16], make([]byte, 16)) && last >= first && first > 0 {
			found = append(found, extent{int(i) + 1, first * sector, (last - first + 1) * sector})
		}
	}
	return found
}

// blkpg is linux/blkpg.h's struct blkpg_ioctl_arg, and what it points to.
type (
	blkpgPartition struct {
		start, length int64
		number        int32
		_             [128]byte // names
	}
	blkpg struct {
		op, flags, size int32
		_               int32
		data            unsafe.Pointer
	}
)

// ShowPartitions tells the kernel what partitions a device has, as partx(8) does: one that is built without the tables'
// formats does not look by itself.
func ShowPartitions(device string) {
	f, err := os.Open(device)
	if err != nil {
		return
	}
	defer f.Close()
	for _, e := range readTable(f) {
		p := blkpgPartition{start: e.at, length: e.bytes, number: int32(e.number)}
		arg := blkpg{op: blkpgAdd, size: int32(unsafe.Sizeof(p)), data: unsafe.Pointer(&p)}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))) // EBUSY: it has looked
	}
}
