package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

type detailFunc = func(r *region, at int64, s *Signature) bool

// detail reads a 16 byte UUID and a label at fixed distances from the magic.
func detail(uuid, label int64, labelLength int) detailFunc {
	return func(r *region, at int64, s *Signature) bool {
		s.UUID = formatUUID(r.bytes(at+uuid, 16))
		s.Label = text(r.bytes(at+label, labelLength))
		return true
	}
}

func uuidAfter(distance int64) detailFunc {
	return func(r *region, at int64, s *Signature) bool {
		s.UUID = formatUUID(r.bytes(at+distance, 16))
		return true
	}
}

// uuidGUID reads an UEFI GUID, whose first three fields are little endian.
func uuidGUID(distance int64) detailFunc {
	return func(r *region, at int64, s *Signature) bool {
		b := r.bytes(at+distance, 16)
		b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7] = b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]
		s.UUID = formatUUID(b)
		return true
	}
}

// text reads a C string in a field of fixed length.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.TrimRight(strings.ToValidUTF8(string(b), "?"), " ")
}

// Feature bits of struct ext4_super_block that tell the three ext file systems apart (fs/ext4/ext4.h).
const (
	extHasJournal   = 0x4                          // compatible
	extJournalDev   = 0x8                          // incompatible
	ext3Incompat    = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 // compression, filetype, recover, journal_dev, meta_bg
	ext3RoCompat    = 0x1 | 0x2 | 0x4              // sparse_super, large_file, btree_dir
	extSuperblockAt = 0x438                        // the magic; the superblock begins 0x38 before
	extUUID         = 0x468 - extSuperblockAt      // distances from the magic
	extLabel        = 0x478 - extSuperblockAt
	extCompat       = 0x45c - extSuperblockAt
)

func ext(r *region, at int64, s *Signature) bool {
	features := r.bytes(at+extCompat, 12)
	compat, incompat, roCompat := binary.LittleEndian.Uint32(features), binary.LittleEndian.Uint32(features[4:]), binary.LittleEndian.Uint32(features[8:])
	switch {
	case incompat&extJournalDev != 0:
		s.Type = "jbd"
	case incompat&^uint32(ext3Incompat) != 0 || roCompat&^uint32(ext3RoCompat) != 0:
		s.Type = "ext4"
	case compat&extHasJournal != 0:
		s.Type = "ext3"
	default:
		s.Type = "ext2"
	}
	return detail(extUUID, extLabel, 16)(r, at, s)
}

// btrfs: the fsid is 32 bytes before the magic (fs/btrfs, struct btrfs_super_block).
func btrfs(r *region, at int64, s *Signature) bool {
	return detail(-0x20, 0x12b-0x40, 256)(r, at, s)
}

// f2fs: struct f2fs_super_block, the volume name is UTF-16.
func f2fs(r *region, at int64, s *Signature) bool {
	s.UUID = formatUUID(r.bytes(at+108, 16))
	raw := r.bytes(at+124, 1024)
	var name []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		c := binary.LittleEndian.Uint16(raw[i:])
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	s.Label = string(utf16.Decode(name))
	return true
}

// swap: union swap_header; the UUID and label stand after 1 KiB of boot bits.
func swap(r *region, _ int64, s *Signature) bool {
	s.UUID = formatUUID(r.bytes(1024+12, 16))
	s.Label = text(r.bytes(1024+28, 16))
	return true
}

func luks(r *region, at int64, s *Signature) bool {
	s.UUID = text(r.bytes(at+168, 40))
	if binary.BigEndian.Uint16(r.bytes(at+6, 2)) >= 2 {
		s.Label = text(r.bytes(at+24, 48))
	}
	return true
}

// lvm2: struct label_header; the physical volume's id stands 32 bytes after the label and is written in groups.
func lvm2(r *region, at int64, s *Signature) bool {
	id := string(r.bytes(at+32, 32))
	if strings.HasPrefix(string(r.bytes(at+24, 8)), "LVM2") && len(strings.Trim(id, "\x00")) == 32 {
		s.UUID = fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", id[0:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:32])
	}
	return true
}

// md1: struct mdp_superblock_1.
func md1(r *region, at int64, s *Signature) bool { return detail(16, 32, 32)(r, at, s) }

// md0: mdp_super_t keeps the UUID's first word apart from the other three.
func md0(r *region, at int64, s *Signature) bool {
	b := append(r.bytes(at+20, 4), r.bytes(at+52, 12)...)
	for i := 0; i < 16; i += 4 { // words, each in the machine's order: shown high byte first
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	s.UUID = formatUUID(b)
	return true
}
