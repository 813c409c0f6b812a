package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Users lists, for each mount point, what would keep its file system from being unmounted and its device from being taken off
// the machine: processes of any mount namespace, mounts inside it, other mounts of the same device, swap files and loop
// devices on it. It changes nothing, touches none of the files, and looks at each process once however many mount points
// there are. Each process is listed once per mount point. ErrNotMountPoint.
func (h *Host) Users(targets []string) (map[string][]Holder, error) {
	own, err := h.Mounts()
	if err != nil {
		return nil, err
	}
	s := &userSearch{h: h, own: own, namespaces: map[string]*namespace{}, users: map[string][]Holder{}, at: map[int]string{}}
	s.self, _ = os.Readlink(filepath.Join(h.proc, "self/ns/mnt"))
	s.namespaces[s.self] = &namespace{mounts: own}
	for _, target := range targets {
		m, ok, err := h.MountAt(target)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%s: %w", target, ErrNotMountPoint)
		}
		s.targets = append(s.targets, userTarget{target, m})
	}
	pids := h.pids()
	for _, chrooted := range []bool{false, true} { // whose table leaves out what lies outside, so the others first
		for _, pid := range pids {
			s.enter(pid, chrooted)
		}
	}
	s.mountsOfDevices()
	s.files()
	for _, pid := range pids {
		s.process(pid)
	}
	return s.users, nil
}

type userTarget struct {
	name  string // as the caller says it
	mount Mount
}

// namespace is one mount namespace, seen through one of its processes.
type namespace struct {
	mounts []Mount
	pid    int // 0 for our own
}

type userSearch struct {
	h          *Host
	own        []Mount
	self       string // our mount namespace
	namespaces map[string]*namespace
	targets    []userTarget
	at         map[int]string // mount id, of any namespace -> target whose device it is a mount of
	users      map[string][]Holder
}

func (s *userSearch) add(target string, h Holder) {
	if h.PID != 0 {
		if slices.ContainsFunc(s.users[target], func(o Holder) bool { return o.PID == h.PID }) {
			return
		}
		h.Command, h.User = s.h.describe(h.PID)
	}
	s.users[target] = append(s.users[target], h)
}

// enter reads the mount table of a process whose namespace was not met before.
func (s *userSearch) enter(pid int, chrooted bool) {
	dir := filepath.Join(s.h.proc, strconv.Itoa(pid))
	name, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err != nil || s.namespaces[name] != nil {
		return
	}
	if root, err := os.Readlink(filepath.Join(dir, "root")); err != nil || root != "/" && !chrooted {
		return
	}
	mounts, err := s.h.mountsOfProcess(strconv.Itoa(pid))
	if err == nil {
		s.namespaces[name] = &namespace{mounts, pid}
	}
}

// mountsOfDevices finds every mount of each target's device. One that the unmounting takes away as well, since it was
// propagated from the target, is in nobody's way by itself: services with a private /tmp all have such copies.
func (s *userSearch) mountsOfDevices() {
	for _, t := range s.targets {
		major, minor := t.mount.deviceNumber()
		groups := s.peerGroups(t.mount)
		for _, ns := range s.namespaces {
			for _, m := range ns.mounts {
				if theirMajor, theirMinor := m.deviceNumber(); theirMajor != major || theirMinor != minor {
					continue
				}
				s.at[m.ID] = t.name
				switch {
				case m.ID == t.mount.ID || unmountedWith(m, ns.mounts, t.mount, s.own, groups):
				case ns.pid == 0:
					s.add(t.name, Holder{How: "mounted on", Path: m.Target})
				default:
					s.add(t.name, Holder{PID: ns.pid, How: "mount namespace, mounted on", Path: m.Target})
				}
			}
		}
	}
}

// peerGroups are the peer groups that hear of it when m is unmounted: that of the mount it is mounted on, and their slaves'.
func (s *userSearch) peerGroups(m Mount) map[int]bool {
	groups := map[int]bool{}
	if parent, ok := parentMount(s.own, m); ok && parent.shared != 0 {
		groups[parent.shared] = true
	}
	for grown := len(groups) > 0; grown; {
		grown = false
		for _, ns := range s.namespaces {
			for _, o := range ns.mounts {
				if o.shared != 0 && groups[o.master] && !groups[o.shared] {
					groups[o.shared], grown = true, true
				}
			}
		}
	}
	return groups
}

// unmountedWith reports whether m, in its table, is a copy of the target that goes away with it: on a mount that receives what
// happens on the target's parent, at the same place of it (mount_namespaces(7)).
func unmountedWith(m Mount, table []Mount, target Mount, own []Mount, groups map[int]bool) bool {
	parent, ok := parentMount(table, m)
	targets, known := parentMount(own, target)
	if !ok || !known || parent.ID == targets.ID || !(groups[parent.shared] || groups[parent.master]) {
		return false
	}
	return m.Root == target.Root && pathInParent(parent, m) == pathInParent(targets, target)
}

func parentMount(table []Mount, m Mount) (Mount, bool) {
	i := slices.IndexFunc(table, func(o Mount) bool { return o.ID == m.Parent && o.ID != m.ID })
	if i < 0 {
		return Mount{}, false
	}
	return table[i], true
}

// pathInParent is where m is mounted, as a path of the parent's file system.
func pathInParent(parent, m Mount) string {
	rest, err := filepath.Rel(parent.Target, m.Target)
	if err != nil {
		return m.Target
	}
	return filepath.Join(parent.Root, rest)
}

// files: mounts inside the targets, swap files, and files under loop devices hold a file system with no process to be seen.
func (s *userSearch) files() {
	for _, m := range s.own {
		if target, inside := s.at[m.Parent]; inside && m.ID != m.Parent {
			s.add(target, Holder{How: NestedMount, Path: m.Target})
		}
	}
	on := func(path, how string) {
		if m, ok := mountOf(s.own, path); ok && s.at[m.ID] != "" {
			s.add(s.at[m.ID], Holder{How: how, Path: path})
		}
	}
	for _, path := range s.h.swapFiles() {
		on(path, "swap")
	}
	for loop, backing := range s.h.loopBackings() {
		on(backing, "loop backing file of /dev/"+loop)
	}
}

// process lists what one process uses: the mount of each descriptor, whatever namespace it was opened in; and its directory,
// program and mapped files, whose paths are those of its own namespace.
func (s *userSearch) process(pid int) {
	dir := filepath.Join(s.h.proc, strconv.Itoa(pid))
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		if target := s.at[MountID(string(info))]; target != "" {
			path, _ := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			s.add(target, Holder{PID: pid, How: "fd " + fd.Name(), Path: notDeleted(path)})
		}
	}
	name, _ := os.Readlink(filepath.Join(dir, "ns/mnt"))
	ns := s.namespaces[name]
	if ns == nil {
		return
	}
	var ours []Mount // of its namespace and a target's device
	for _, m := range ns.mounts {
		if s.at[m.ID] != "" {
			ours = append(ours, m)
		}
	}
	if len(ours) == 0 {
		return
	}
	under := func(how, path string) {
		for _, m := range ours {
			if !isUnder(path, m.Target) {
				continue
			}
			if at, ok := mountOf(ns.mounts, path); ok && at.ID == m.ID {
				s.add(s.at[m.ID], Holder{PID: pid, How: how, Path: notDeleted(path)})
			}
		}
	}
	for _, how := range []string{"cwd", "root", "exe"} {
		if path, err := os.Readlink(filepath.Join(dir, how)); err == nil {
			under(how, path)
		}
	}
	for _, path := range s.h.mapped(pid) {
		under("mmap", path)
	}
}
