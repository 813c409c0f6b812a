package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// NamedPath is a file or directory, and what it is for, in words that fit "it holds …": "the journal".
type NamedPath struct{ Path, What string }

// FreezeRisk is one reason why a mount must not be frozen.
type FreezeRisk struct{ Path, What string }

func (r FreezeRisk) String() string {
	if r.Path == "" {
		return r.What
	}
	return r.What + " (" + r.Path + ")"
}

// FreezeRisks says what speaks against freezing the file system at target; none means it may be frozen. Looked for are: no
// mount point, a type that cannot freeze, and on it the root, /var/log, /tmp, swap files, this program, or any path of
// extra: the journal, the log, hook programs, and the mount points of the other volumes of
// the set (not target's own: it is on itself). Each path is followed
// down: from a loop device to the file under it, from device mapper and RAID to their parts, from an overlay to its upper
// directory. So a volume whose image file lies on another volume of the set is found too.
func (h *Host) FreezeRisks(target string, extra []NamedPath) ([]FreezeRisk, error) {
	m, ok, err := h.MountAt(target)
	if err != nil {
		return nil, fmt.Errorf("cannot determine whether %s can be frozen: %w", target, err)
	}
	if !ok {
		return []FreezeRisk{{target, "it is not a mount point"}}, nil
	}
	var risks []FreezeRisk
	if !canFreeze(m.FileSystem) {
		risks = append(risks, FreezeRisk{"", m.FileSystem + " cannot be frozen"})
	}
	mounts, err := h.Mounts()
	if err != nil {
		return nil, fmt.Errorf("cannot determine whether %s can be frozen: %w", target, err)
	}
	named := []NamedPath{{"/", "the root file system"}, {"/var/log", "the system's logs"}, {"/tmp", "temporary files"}, {os.TempDir(), "temporary files"}}
	if self, err := os.Executable(); err == nil {
		named = append(named, NamedPath{self, "this program"})
	}
	for _, file := range h.swapFiles() {
		named = append(named, NamedPath{file, "swap space"})
	}
	named = append(named, extra...)
	seen := map[FreezeRisk]bool{}
	for _, n := range named {
		risk := FreezeRisk{n.Path, "it holds " + n.What}
		if !seen[risk] && h.restsOn(mounts, n.Path, m, 0) {
			seen[risk] = true
			risks = append(risks, risk)
		}
	}
	return risks, nil
}

// maxDepth bounds how far devices under devices are followed.
const maxDepth = 8

// restsOn reports whether what is written to path ends up, through whatever layers, on the file system m.
func (h *Host) restsOn(mounts []Mount, path string, m Mount, depth int) bool {
	on, ok := mountOf(mounts, existing(path))
	if !ok || depth > maxDepth {
		return false
	}
	if on.Major == m.Major && on.Minor == m.Minor { // one super block, however it is mounted
		return true
	}
	if on.FileSystem == "overlay" {
		for _, o := range on.Options {
			if upper, found := strings.CutPrefix(o, "upperdir="); found {
				return h.restsOn(mounts, upper, m, depth+1)
			}
		}
		return false
	}
	major, minor := on.deviceNumber()
	return major != 0 && h.deviceRestsOn(mounts, filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", major, minor)), m, depth+1)
}

// deviceRestsOn follows a device, given by its directory in sysfs, to the files and devices under it.
func (h *Host) deviceRestsOn(mounts []Mount, sysfs string, m Mount, depth int) bool {
	if depth > maxDepth {
		return false
	}
	real, err := filepath.EvalSymlinks(sysfs)
	if err != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(real, "partition")); err == nil {
		real = filepath.Dir(real) // the whole device that the partition is of
	}
	if b, err := os.ReadFile(filepath.Join(real, "loop/backing_file")); err == nil {
		return h.restsOn(mounts, notDeleted(strings.TrimSuffix(string(b), "\n")), m, depth+1)
	}
	slaves, _ := os.ReadDir(filepath.Join(real, "slaves"))
	for _, s := range slaves {
		under := filepath.Join(real, "slaves", s.Name())
		if b, err := os.ReadFile(filepath.Join(under, "dev")); err == nil && strings.TrimSpace(string(b)) == fmt.Sprintf("%d:%d", m.Major, m.Minor) {
			return true
		}
		if h.deviceRestsOn(mounts, under, m, depth+1) {
			return true
		}
	}
	return false
}

// existing resolves symlinks of the deepest part of path that exists: a log file that is yet to be made counts where it
// will be.
func existing(path string) string {
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			return real
		}
		if !errors.Is(err, fs.ErrNotExist) || p == "/" || p == "." {
			return p
		}
	}
}
