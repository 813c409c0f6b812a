package linux

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hookGroup names the process group of a hook beyond the reuse of its number: by its leader's start, in clock ticks since boot
// (proc_pid_stat(5)). It is what the record of a running hook holds.
type hookGroup struct {
	Group int           `json:"group"`
	Start uint64        `json:"start"`
	Boot  string        `json:"boot"`
	Run   string        `json:"run"`
	Hook  string        `json:"hook"`
	Bound time.Duration `json:"bound"` // of a held hook: how long its release may take, in ns
}

const hookRecordSuffix = ".hook.json"

// write leaves the record in dir. It needs no fsync: what does not survive this boot is nothing that runs.
func (g hookGroup) write(dir string) (string, error) {
	boot, err := New(Roots{}).BootID()
	if err != nil {
		return "", err
	}
	g.Boot = boot
	b, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("internal error: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "new-*") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		name := filepath.Join(dir, fmt.Sprintf("%d-%d%s", g.Group, g.Start, hookRecordSuffix))
		if err = os.Rename(f.Name(), name); err == nil {
			return name, nil
		}
	}
	_ = os.Remove(f.Name())
	return "", err
}

// leaderAlive reports whether the group's first process lives, so that the group is the one that was meant.
func (g hookGroup) leaderAlive() bool {
	p, err := processOf(g.Group)
	return err == nil && p.start == g.Start && !p.dead()
}

// members are the group's living processes. Without its leader the number may be another group's: then only those count
// that were told the run in their environment.
func (g hookGroup) members() []int {
	all := groupMembers(g.Group)
	if g.leaderAlive() {
		return all
	}
	return slices.DeleteFunc(all, func(pid int) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err != nil || g.Run == "" || !bytes.Contains(append([]byte{0}, env...), []byte("\x00SNAPTASTIC_RUN="+g.Run+"\x00"))
	})
}

// kill ends the group: a held hook has its time to let go, since its input has ended; then SIGTERM, a grace, and SIGKILL. false
// when that did not help.
func (g hookGroup) kill() bool {
	living := g.members // the leader may go first: who was a member then stays one
	if g.leaderAlive() {
		living = func() []int { return groupMembers(g.Group) }
	}
	if g.Bound > 0 && waitGone(living, g.Bound) {
		return true
	}
	for _, s := range []struct {
		signal unix.Signal
		grace  time.Duration
	}{{unix.SIGTERM, termGrace}, {unix.SIGKILL, killGrace}} {
		for _, pid := range living() {
			_ = unix.Kill(pid, s.signal)
		}
		if waitGone(living, s.grace) {
			return true
		}
	}
	return false
}

// waitGone waits until nobody is left.
func waitGone(living func() []int, within time.Duration) bool {
	grace := time.NewTimer(within)
	defer grace.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(living()) > 0 {
		select {
		case <-grace.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// EndHooks ends what a program that was killed left running of a run's hooks, and waits for it: whoever goes on with the run
// calls it first, while no other process may be at that run. It reads the records in dir, which RunHook and StartHeldHook
// wrote there. The names are of the hooks that were still running. The error names what cannot be ended.
func EndHooks(ctx context.Context, dir, run string) (names []string, err error) {
	boot, err := New(Roots{}).BootID() // of the kernel that runs them, whatever a sandbox calls a boot
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+hookRecordSuffix))
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", dir, err)
	}
	var problems []error
	for _, name := range files {
		g, err := readHookGroup(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			problems = append(problems, err)
			continue
		case g.Run != run:
			continue
		case ctx.Err() != nil:
			return names, context.Cause(ctx)
		}
		if g.Boot == boot && len(g.members()) > 0 {
			names = append(names, g.Hook)
			if !g.kill() {
				problems = append(problems, fmt.Errorf("hook %s of the interrupted run is still running and survives SIGKILL: pid %s", g.Hook, pids(g.members())))
				continue
			}
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return names, errors.Join(problems...)
}

func pids(all []int) string {
	words := make([]string, len(all))
	for i, pid := range all {
		words[i] = strconv.Itoa(pid)
	}
	return strings.Join(words, ", ")
}

func readHookGroup(name string) (g hookGroup, err error) {
	if fi, err := os.Lstat(name); err != nil {
		return g, err
	} else if !fi.Mode().IsRegular() { // to open a device may do anything
		return g, fmt.Errorf("refusing %s: it is not a regular file, so this program did not create it; remove it", name)
	}
	f, err := OpenOwned(name, os.O_RDONLY, 0)
	if err != nil {
		return g, err
	}
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&g); err != nil || g.Group < 2 || g.Start == 0 {
		return g, fmt.Errorf("cannot read %s: it is not a hook record", name)
	}
	return g, nil
}

// groupMembers lists the members of a process group that are no zombies. kill(2) cannot tell: it finds the corpses too.
func groupMembers(group int) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []int{group}
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := processOf(pid); err == nil && p.group == group && !p.dead() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// process is what /proc/PID/stat says of one.
type process struct {
	state string
	group int
	start uint64
}

func (p process) dead() bool { return p.state == "Z" || p.state == "X" }

func processOf(pid int) (p process, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	// The name in parentheses may hold anything; what follows it is field 3, the state.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return p, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	p.state = f[0]
	if p.group, err = strconv.Atoi(f[2]); err != nil {
		return p, err
	}
	p.start, err = strconv.ParseUint(f[19], 10, 64)
	return p, err
}

func processStart(pid int) (uint64, error) {
	p, err := processOf(pid)
	if err != nil {
		return 0, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return p.start, nil
}
