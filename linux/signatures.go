package linux

// probe is one known signature: a magic, where it may stand, and what more there is to read.
type probe struct {
	class, name string
	magic       string
	places      func(size int64) []int64
	// detail fills UUID and label in, refines the type, and may say that it is not one after all. at is the magic's place.
	detail func(r *region, at int64, s *Signature) bool
}

// at: the magic stands at fixed places from the start.
func at(offsets ...int64) func(int64) []int64 { return func(int64) []int64 { return offsets } }

// fromEnd: the magic stands at fixed distances before the end.
func fromEnd(distances ...int64) func(int64) []int64 {
	return func(size int64) []int64 {
		var places []int64
		for _, d := range distances {
			places = append(places, size-d)
		}
		return places
	}
}

// Where the md superblocks at the end of a member are (drivers/md/md.c, super_90_load and super_1_load).
func md090(size int64) []int64 { return []int64{(size &^ (64<<10 - 1)) - 64<<10} }
func md10(size int64) []int64  { return []int64{((size>>9 - 16) &^ 7) << 9} }

// drbdMagic: DRBD's internal metadata is the last 4 KiB block; the magic is at its byte 60 (struct meta_data_on_disk).
func drbdMagic(size int64) []int64 { return []int64{(size/4096-1)*4096 + 60} }

// zfsUberblocks: four labels of 256 KiB, two at each end; the second half of each is an array of uberblocks
// (include/sys/vdev_impl.h). The first 32 of each are looked at with the least spacing; what else is there is not zero.
func zfsUberblocks(size int64) []int64 {
	var places []int64
	end := size &^ (256<<10 - 1)
	for _, label := range []int64{0, 256 << 10, end - 512<<10, end - 256<<10} {
		for i := range int64(128) {
			places = append(places, label+128<<10+i<<10)
		}
	}
	return places
}

// probes are all known signatures, containers first (see recognise). Offsets and magics are those of the kernel's own
// headers; util-linux's libblkid has the same ones collected.
var probes = []probe{
	{ClassLUKS, "crypto_LUKS", "LUKS\xba\xbe", at(0), luks},
	{ClassLUKS, "BitLocker", "-FVE-FS-", at(3), nil},

	{ClassLVM, "LVM2_member", "LABELONE", at(0, 512, 1024, 1536), lvm2},
	{ClassLVM, "LVM1_member", "HM\x01\x00", at(0), nil},
	{ClassLVM, "LVM1_member", "HM\x02\x00", at(0), nil},
	{ClassLVM, "DM_snapshot_cow", "SnAp", at(0), nil},
	{ClassLVM, "vdo", "dmvdo001", at(0), nil},
	{ClassLVM, "stratis", "!Stra0tis\x86\xff\x02^\x41rh", at(528, 528+8*512), nil},
	{ClassLVM, "oracleasm", "ORCLDISK", at(32), nil},
	{ClassLVM, "ceph_bluestore", "bluestore block device", at(0), nil},
	{ClassLVM, "VMFS_volume_member", "\x0d\xd0\x01\xc0", at(1 << 20), nil},

	{ClassRAID, "linux_raid_member", "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", at(0, 4096), md1},
	{ClassRAID, "linux_raid_member", "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", md10, md1},
	{ClassRAID, "linux_raid_member", "\xfc\x4e\x2b\xa9", md090, md0},
	{ClassRAID, "linux_raid_member", "\xa9\x2b\x4e\xfc", md090, nil},
	{ClassRAID, "bcache", "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", at(4096 + 24), uuidAfter(16)},
	{ClassRAID, "drbd", "\x83\x74\x02\x6a", drbdMagic, nil},
	{ClassRAID, "drbd", "\x83\x74\x02\x6b", drbdMagic, nil},
	{ClassRAID, "drbd", "\x83\x74\x02\x6c", drbdMagic, nil},
	{ClassRAID, "drbd", "\x83\x74\x02\x6d", drbdMagic, nil},
	{ClassRAID, "ddf_raid_member", "\xde\x11\xde\x11", fromEnd(512, 257*512), nil},
	{ClassRAID, "isw_raid_member", "Intel Raid ISM Cfg Sig. ", fromEnd(1024), nil},
	{ClassRAID, "lsi_mega_raid_member", "$XIDE$", fromEnd(512), nil},
	{ClassRAID, "nvidia_raid_member", "NVIDIA", fromEnd(1024), nil},
	{ClassRAID, "adaptec_raid_member", "DPTM", fromEnd(512), nil},

	{ClassPartitionTable, "gpt", "EFI PART", at(512, 4096), uuidGUID(56)},

	{ClassFileSystem, "xfs", "XFSB", at(0), detail(32, 108, 12)},
	{ClassFileSystem, "ext", "\x53\xef", at(0x438), ext},
	{ClassFileSystem, "btrfs", "_BHRfS_M", at(0x10040), btrfs},
	{ClassFileSystem, "f2fs", "\x10\x20\xf5\xf2", at(1024, 4096+1024), f2fs},
	{ClassFileSystem, "jfs", "JFS1", at(0x8000), detail(136, 152, 16)},
	{ClassFileSystem, "reiserfs", "ReIsEr", at(0x10034, 0x2034), detail(84-52, 100-52, 16)},
	{ClassFileSystem, "reiserfs", "ReIsErFs", at(0x10014, 0x2014), nil},
	{ClassFileSystem, "reiser4", "ReIsEr4", at(0x10000), nil},
	{ClassFileSystem, "bcachefs", "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", at(4096 + 24), nil},
	{ClassFileSystem, "nilfs2", "\x34\x34", at(1024 + 6), nil},
	{ClassFileSystem, "gfs2", "\x01\x16\x19\x70", at(0x10000), nil},
	{ClassFileSystem, "ocfs2", "OCFSV2", at(1024, 2048, 4096, 8192), nil},
	{ClassFileSystem, "zfs_member", "\x0c\xb1\xba\x00\x00\x00\x00\x00", zfsUberblocks, nil},
	{ClassFileSystem, "zfs_member", "\x00\x00\x00\x00\x00\xba\xb1\x0c", zfsUberblocks, nil},
	{ClassFileSystem, "squashfs", "hsqs", at(0), nil},
	{ClassFileSystem, "squashfs", "sqsh", at(0), nil},
	{ClassFileSystem, "erofs", "\xe2\xe1\xf5\xe0", at(1024), detail(48, 64, 16)},
	{ClassFileSystem, "cramfs", "\x45\x3d\xcd\x28", at(0), nil},
	{ClassFileSystem, "romfs", "-rom1fs-", at(0), nil},
	{ClassFileSystem, "iso9660", "CD001", at(0x8001), nil},
	{ClassFileSystem, "udf", "NSR0", at(0x8801, 0x9001), nil},
	{ClassFileSystem, "hfsplus", "H+\x00\x04", at(1024), nil},
	{ClassFileSystem, "hfsplus", "HX\x00\x05", at(1024), nil},
	{ClassFileSystem, "apfs", "NXSB", at(32), nil},
	{ClassFileSystem, "ufs", "\x54\x19\x01\x00", at(0x255c), nil},
	{ClassFileSystem, "ufs2", "\x19\x01\x54\x19", at(65536 + 1372), nil},
	{ClassFileSystem, "minix", "\x7f\x13", at(0x410), nil},
	{ClassFileSystem, "minix", "\x8f\x13", at(0x410), nil},
	{ClassFileSystem, "minix", "\x68\x24", at(0x410), nil},
	{ClassFileSystem, "minix", "\x78\x24", at(0x410), nil},
	{ClassFileSystem, "minix", "\x5a\x4d", at(0x418), nil},
	{ClassFileSystem, "ntfs", "NTFS    ", at(3), nil},
	{ClassFileSystem, "exfat", "EXFAT   ", at(3), nil},
	{ClassFileSystem, "refs", "ReFS\x00\x00\x00\x00", at(3), nil},
	{ClassFileSystem, "vfat", "FAT32   ", at(0x52), nil},
	{ClassFileSystem, "vfat", "FAT1", at(0x36), nil},

	{ClassSwap, "swap", "SWAPSPACE2", swapPlaces, swap},
	{ClassSwap, "swap", "SWAP-SPACE", swapPlaces, nil},
	{ClassSwap, "swsuspend", "S1SUSPEND", swapPlaces, nil},
	{ClassSwap, "swsuspend", "S2SUSPEND", swapPlaces, nil},
	{ClassSwap, "swsuspend", "ULSUSPEND", swapPlaces, nil},
	{ClassSwap, "swsuspend", "LINHIB0001", swapPlaces, nil},

	// Second copies count only where no first was found: they outlive a careless mkfs of something else.
	{ClassPartitionTable, "gpt", "EFI PART", fromEnd(512, 4096), uuidGUID(56)},
	{ClassLUKS, "crypto_LUKS", "SKUL\xba\xbe", at(0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000), luks},
	{ClassFileSystem, "btrfs", "_BHRfS_M", at(64<<20+0x40, 256<<30+0x40), btrfs},

	// Last, because the boot sectors of vfat and ntfs, and boot loaders before other file systems, end the same way.
	{ClassPartitionTable, "dos", "\x55\xaa", at(510), nil},
	{ClassPartitionTable, "sun", "\xda\xbe", at(508), nil},
	{ClassPartitionTable, "sgi", "\x0b\xe5\xa9\x41", at(0), nil},
	{ClassPartitionTable, "mac", "ER\x02\x00", at(0), nil},
	{ClassPartitionTable, "mac", "PM\x00\x00", at(512), nil},
	{ClassPartitionTable, "bsd", "\x57\x45\x56\x82", at(0, 64, 512), nil},
}

// swapPlaces: the magic ends the first page, whatever the page size was where it was made.
var swapPlaces = at(4096-10, 8192-10, 16384-10, 32768-10, 65536-10)
