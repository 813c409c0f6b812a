package linux

import (
	"os"
	"slices"
)

// fileSystem is all that we know about a type of file system that Format can make, by what is done with it. Where its
// superblock is, signatures.go knows.
type fileSystem struct {
	name    string
	module  string   // of the kernel, where it is not the name
	tools   []Tool   // of mkfs; mounting and growing need none: that is the kernel's
	mkfs    []string // flags: no questions asked (we probed), no discard
	uuid    string   // flag of mkfs for the UUID, "" where it takes none; what follows a space goes before the value
	setUUID []string // program that sets the UUID where mkfs cannot; the UUID and the device follow
	label   string   // flag of mkfs for the label
	check   checker  // none where there is no check that writes nothing

	// What a second one with the same UUID needs, a copy of one that is mounted: a mount option, or another UUID by a program,
	// because the kernel takes the two for one. The mkfs of the latter refuses a UUID that it finds on any device.
	copyOption string
	newUUID    Tool
	// size is how many bytes of its device a mounted one uses, grow enlarges it to its device; nil where the kernel cannot.
	// target is its mount point, opened.
	size func(dev Device, target *os.File) (int64, error)
	grow func(dev Device, target *os.File) error
}

// fileSystems are those that Format can make, the default first.
var fileSystems = []fileSystem{
	{name: "xfs", tools: []Tool{{"mkfs.xfs", "xfsprogs"}}, mkfs: []string{"-f", "-q", "-K"}, uuid: "-m uuid=", label: "-L", check: xfsCheck, copyOption: "nouuid", size: xfsSize, grow: growXFS},
	{name: "ext2", module: "ext4", tools: []Tool{{"mkfs.ext2", "e2fsprogs"}}, mkfs: extFlags, uuid: "-U", label: "-L", check: extCheck, size: extSize, grow: growExt}, // fs/ext4/super.c
	{name: "ext3", module: "ext4", tools: []Tool{{"mkfs.ext3", "e2fsprogs"}}, mkfs: extFlags, uuid: "-U", label: "-L", check: extCheck, size: extSize, grow: growExt},
	{name: "ext4", tools: []Tool{{"mkfs.ext4", "e2fsprogs"}}, mkfs: extFlags, uuid: "-U", label: "-L", check: extCheck, size: extSize, grow: growExt},
	{name: "btrfs", tools: []Tool{{"mkfs.btrfs", "btrfs-progs"}}, mkfs: []string{"-f", "-q", "-K"}, uuid: "-U", label: "-L", check: btrfsCheck, newUUID: Tool{"btrfstune", "btrfs-progs"}, size: btrfsSize, grow: growBtrfs},
	{name: "f2fs", tools: []Tool{{"mkfs.f2fs", "f2fs-tools"}}, mkfs: []string{"-f", "-q", "-t", "0"}, uuid: "-U", label: "-l"},
	{name: "jfs", tools: []Tool{{"mkfs.jfs", "jfsutils"}, {"jfs_tune", "jfsutils"}}, mkfs: []string{"-q"}, setUUID: []string{"jfs_tune", "-U"}, label: "-L"},
	{name: "reiserfs", tools: []Tool{{"mkfs.reiserfs", "reiserfsprogs"}}, mkfs: []string{"-f", "-f", "-q"}, uuid: "-u", label: "-l"},
}

var extFlags = []string{"-F", "-q", "-E", "nodiscard"}

// freezable are further file systems of Linux whose super_operations have freeze_fs or freeze_super, as all of fileSystems
// have; for all others FIFREEZE answers EOPNOTSUPP (fs/ioctl.c, ioctl_fsfreeze).
var freezable = []string{"nilfs2", "gfs2", "bcachefs"}

// canFreeze reports whether the kernel can freeze file systems of the type.
func canFreeze(name string) bool {
	_, known := fileSystemOf(name)
	return known || slices.Contains(freezable, name)
}

func fileSystemOf(name string) (fileSystem, bool) {
	i := slices.IndexFunc(fileSystems, func(f fileSystem) bool { return f.name == name })
	if i < 0 {
		return fileSystem{}, false
	}
	return fileSystems[i], true
}

// FileSystems lists the file systems that Format can make, the default first.
func FileSystems() (names []string) {
	for _, f := range fileSystems {
		names = append(names, f.name)
	}
	return names
}

// CopyOptions are the mount options that a copy of a file system needs to be mounted beside the original.
func CopyOptions(fileSystem string) []string {
	if f, _ := fileSystemOf(fileSystem); f.copyOption != "" {
		return []string{f.copyOption}
	}
	return nil
}
