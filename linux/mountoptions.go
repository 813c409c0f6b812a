package linux

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// mountFlags are the words of mount(8) that are flags of mount(2); a word of clearFlags takes its flag back.
var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "mand": unix.MS_MANDLOCK, "silent": unix.MS_SILENT,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
	"strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME, "iversion": unix.MS_I_VERSION,
	"nosymfollow": unix.MS_NOSYMFOLLOW,
}

var clearFlags = map[string]uintptr{
	"rw": unix.MS_RDONLY, "suid": unix.MS_NOSUID, "dev": unix.MS_NODEV, "exec": unix.MS_NOEXEC,
	"async": unix.MS_SYNCHRONOUS, "nomand": unix.MS_MANDLOCK, "loud": unix.MS_SILENT,
	"atime": unix.MS_NOATIME, "diratime": unix.MS_NODIRATIME, "norelatime": unix.MS_RELATIME,
	"nostrictatime": unix.MS_STRICTATIME, "nolazytime": unix.MS_LAZYTIME, "noiversion": unix.MS_I_VERSION,
	"symfollow": unix.MS_NOSYMFOLLOW,
}

// impliedFlags: who may mount is fstab's business and dropped, but these words also imply flags (mount(8)).
var impliedFlags = map[string]uintptr{
	"user": unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV, "users": unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV,
	"owner": unix.MS_NOSUID | unix.MS_NODEV, "group": unix.MS_NOSUID | unix.MS_NODEV,
}

// droppedWords mean something to fstab, systemd or the mount program, and nothing to the kernel.
var droppedWords = map[string]bool{
	"defaults": true, "auto": true, "noauto": true, "nofail": true, "_netdev": true, "nouser": true, "nousers": true,
	"noowner": true, "nogroup": true,
}

// refusedWords ask for another operation than mounting a device.
var refusedWords = map[string]bool{
	"bind": true, "rbind": true, "move": true, "remount": true, "loop": true, "shared": true, "private": true, "slave": true,
	"unbindable": true, "rshared": true, "rprivate": true, "rslave": true, "runbindable": true,
}

// splitMountOptions turns words (each may hold several, with commas) into what mount(2) takes, as mount(8) does.
func splitMountOptions(words []string) (flags uintptr, data []string, err error) {
	for _, word := range words {
		for o := range strings.SplitSeq(word, ",") {
			o = strings.TrimSpace(o)
			name, _, _ := strings.Cut(o, "=")
			switch {
			case o == "" || droppedWords[o]:
			case strings.HasPrefix(o, "x-") || strings.HasPrefix(o, "X-") || name == "comment" || name == "helper" || name == "uhelper":
			case refusedWords[name]:
				return 0, nil, fmt.Errorf("mount option %q is not allowed for volumes", o)
			case mountFlags[o] != 0:
				flags |= mountFlags[o]
			case clearFlags[o] != 0:
				flags &^= clearFlags[o]
			case impliedFlags[o] != 0:
				flags |= impliedFlags[o]
			default:
				data = append(data, o)
			}
		}
	}
	return flags, data, nil
}
