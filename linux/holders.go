package linux

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Holder is one thing that keeps a mount or device in use.
type Holder struct {
	PID     int    // 0 where no process is to blame
	Command string // its command line, shortened
	User    string
	Path    string // what it holds
	How     string // cwd, root, exe, fd, mmap, nested mount, swap, loop backing file, mount namespace, used by
}

// NestedMount is how a mount inside another one holds it.
const NestedMount = "nested mount"

func (h Holder) String() string {
	if h.PID == 0 {
		return h.How + " " + h.Path
	}
	return fmt.Sprintf("pid %d (%s, user %s) %s %s", h.PID, h.Command, h.User, h.How, h.Path)
}

// swapFiles lists the files, and not the partitions, that are swapped to (proc_swaps(5)).
func (h *Host) swapFiles() (files []string) {
	for _, s := range h.swaps() {
		if s.kind == "file" {
			files = append(files, s.path)
		}
	}
	return files
}

type swapArea struct{ path, kind string }

func (h *Host) swaps() (areas []swapArea) {
	b, _ := os.ReadFile(filepath.Join(h.proc, "swaps"))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && strings.HasPrefix(f[0], "/") {
			areas = append(areas, swapArea{unescape.Replace(f[0]), f[1]})
		}
	}
	return areas
}

// loopBackings maps loop devices in use to the files under them.
func (h *Host) loopBackings() map[string]string {
	backings := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(h.kernelSys, "block/loop*/loop/backing_file"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			backings[filepath.Base(filepath.Dir(filepath.Dir(f)))] = notDeleted(strings.TrimSuffix(string(b), "\n"))
		}
	}
	return backings
}

// pids lists the processes of the machine, this one too: it may hold a descriptor itself.
func (h *Host) pids() (pids []int) {
	entries, _ := os.ReadDir(h.proc)
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// MountID reads the mnt_id line of an fdinfo file (proc_pid_fdinfo(5)); -1 where there is none.
func MountID(info string) int {
	_, rest, ok := strings.Cut(info, "mnt_id:")
	if !ok {
		return -1
	}
	line, _, _ := strings.Cut(rest, "\n")
	id, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return -1
	}
	return id
}

// mapped lists the files mapped into a process.
func (h *Host) mapped(pid int) (paths []string) {
	b, _ := os.ReadFile(filepath.Join(h.proc, strconv.Itoa(pid), "maps"))
	for line := range strings.Lines(string(b)) {
		if i := strings.IndexByte(line, '/'); i >= 0 {
			if path := strings.TrimSuffix(line[i:], "\n"); !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

func (h *Host) describe(pid int) (command, userName string) {
	dir := filepath.Join(h.proc, strconv.Itoa(pid))
	b, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	command = strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	if command == "" { // a kernel thread, or a process that is ending
		b, _ = os.ReadFile(filepath.Join(dir, "comm"))
		command = strings.TrimSpace(string(b))
	}
	if r := []rune(command); len(r) > 60 {
		command = string(r[:60]) + "…"
	}
	userName = "?"
	if info, err := os.Stat(dir); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			userName = strconv.Itoa(int(st.Uid))
			if u, err := user.LookupId(userName); err == nil {
				userName = u.Username
			}
		}
	}
	return command, userName
}

// deviceHolders lists what keeps a block device in use: mounts in any mount namespace, swap, devices made of it, and
// processes that have it open.
func (h *Host) deviceHolders(path string) ([]Holder, error) {
	dev, err := openDevice(path)
	if err != nil {
		return nil, err
	}
	var holders []Holder
	used, _ := os.ReadDir(filepath.Join(h.kernelSys, "dev/block", fmt.Sprintf("%d:%d", dev.Major, dev.Minor), "holders"))
	for _, u := range used {
		holders = append(holders, Holder{How: "used by", Path: "/dev/" + u.Name()})
	}
	for _, s := range h.swaps() {
		if d, err := openDevice(s.path); err == nil && d.Same(dev) {
			holders = append(holders, Holder{How: "swap", Path: s.path})
		}
	}
	mounts, _ := h.Mounts()
	for _, m := range mountsOf(mounts, dev) {
		holders = append(holders, Holder{How: "mounted on", Path: m.Target})
	}
	seen := map[string]bool{}
	if own, err := os.Readlink(filepath.Join(h.proc, "self/ns/mnt")); err == nil {
		seen[own] = true
	}
	for _, pid := range h.pids() {
		holders = append(holders, h.holdsDevice(pid, dev, seen)...)
	}
	return holders, nil
}

// holdsDevice: seen are the mount namespaces that were looked at; one process stands for each.
func (h *Host) holdsDevice(pid int, dev Device, seen map[string]bool) (holders []Holder) {
	dir := filepath.Join(h.proc, strconv.Itoa(pid))
	if ns, err := os.Readlink(filepath.Join(dir, "ns/mnt")); err == nil && !seen[ns] {
		seen[ns] = true
		mounts, _ := h.mountsOfProcess(strconv.Itoa(pid))
		for _, m := range mountsOf(mounts, dev) {
			holders = append(holders, Holder{PID: pid, How: "mount namespace, mounted on", Path: m.Target})
		}
	}
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && path == dev.Path {
			holders = append(holders, Holder{PID: pid, How: "fd " + fd.Name(), Path: path})
		}
	}
	for i := range holders {
		holders[i].Command, holders[i].User = h.describe(pid)
	}
	return holders
}

// notDeleted strips what the kernel appends to the name of a file that was unlinked.
func notDeleted(path string) string { return strings.TrimSuffix(path, " (deleted)") }
