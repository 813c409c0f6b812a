package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// A CheckRequest asks whether a file system that is not mounted is consistent.
type CheckRequest struct {
	Device     string
	Partition  int // of Device; 0 for Device itself
	FileSystem string
	Timeout    time.Duration // 0 is none
	Run        string        // see HookRequest
	RecordDir  string
}

// CheckResult is what a check came to.
type CheckResult struct {
	Command []string // without the device; none where there is no check for this file system
	Problem string   // in words; "" where it found nothing wrong
	Lines   []string // the last lines of its output, where it found something
}

// A checker is a program that checks a file system and writes nothing.
type checker struct {
	tool    Tool
	args    []string
	damaged func(code int) bool // what an exit code other than 0 means
}

// The exit codes: e2fsck(8) has 4 for errors left uncorrected and 8 for what it cannot even read; 16, 32 and 128 are about
// the call. xfs_repair(8) -n has 1 for corruption, and 2 for a log that is to be replayed. btrfs-check(8) has 1 for errors.
var (
	extCheck   = checker{Tool{"e2fsck", "e2fsprogs"}, []string{"-f", "-n"}, func(code int) bool { return code&(4|8) != 0 && code < 16 }}
	xfsCheck   = checker{Tool{"xfs_repair", "xfsprogs"}, []string{"-n"}, func(code int) bool { return code == 1 || code == 2 }}
	btrfsCheck = checker{Tool{"btrfs", "btrfs-progs"}, []string{"check", "--readonly"}, func(code int) bool { return code == 1 }}
)

// MissingScratchTools lists the programs that checking a copy of the file system needs, or using it beside the original, and that are not found.
func MissingScratchTools(fileSystem string, check bool) (missing []Tool) {
	var need []Tool
	f, _ := fileSystemOf(fileSystem)
	if check {
		need = append(need, f.check.tool)
	}
	for _, t := range append(need, f.newUUID) {
		if t.Command == "" {
			continue
		}
		if _, err := findTool(t.Command); err != nil {
			missing = append(missing, t)
		}
	}
	return missing
}

// CheckFileSystem runs the file system's own check, which writes nothing: e2fsck -f -n, xfs_repair -n, btrfs check --readonly. It
// runs at idle I/O priority, and ends with this process. The error is that it could not be done; what it found is in the result.
func (h *Host) CheckFileSystem(ctx context.Context, q CheckRequest) (CheckResult, error) {
	f, _ := fileSystemOf(q.FileSystem)
	c := f.check
	if c.damaged == nil {
		return CheckResult{}, nil
	}
	device := q.Device
	if q.Partition != 0 {
		p, err := h.partition(q.Device, q.Partition)
		if err != nil {
			return CheckResult{}, err
		}
		device = p.Path
	}
	program, err := findTool(c.tool.Command)
	if err != nil {
		return CheckResult{}, fmt.Errorf("cannot check %s: %w; install %s", device, err, c.tool.Package)
	}
	out := CheckResult{Command: append([]string{c.tool.Command}, c.args...)}
	first := ""
	r, err := h.RunHook(ctx, HookRequest{Command: append(append([]string{program}, c.args...), device), Env: []string{"LC_ALL=C"}, Timeout: q.Timeout,
		Run: q.Run, RecordDir: q.RecordDir, Idle: true, Output: func(line string) {
			if first == "" && tellsProblem(line) {
				first = strings.TrimSpace(line)
			}
		}})
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return out, nil
	case !ended || errors.Is(err, ErrHookTimedOut) || !c.damaged(exit.ExitCode()):
		return out, fmt.Errorf("cannot check %s: %w", device, err)
	}
	out.Lines = r.Tail
	out.Problem = fmt.Sprintf("%s found errors (exit code %d)", strings.Join(out.Command, " "), exit.ExitCode())
	if first != "" {
		out.Problem += ": " + first
	}
	return out, nil
}

// progress matches what the checkers write as long as all is well.
var progress = regexp.MustCompile(`^(\s*$|e2fsck \d|Pass \d|Phase \d|\s+- |\[\d+/\d+\]|Opening filesystem|Checking filesystem|UUID:|No modify flag)`)

func tellsProblem(line string) bool { return !progress.MatchString(line) }

// NewFileSystemID gives the btrfs on a device that is not mounted a new UUID (its metadata_uuid feature, Linux 5.0): the kernel
// takes two devices with the same one for one file system. It writes superblocks only. Other file systems are left as they are.
func (h *Host) NewFileSystemID(ctx context.Context, device string, partition int) error {
	if partition != 0 {
		p, err := h.partition(device, partition)
		if err != nil {
			return err
		}
		device = p.Path
	}
	fileSystem, _, err := mountedSignature(device)
	f, _ := fileSystemOf(fileSystem)
	if err != nil || f.newUUID.Command == "" {
		return err
	}
	program, err := findTool(f.newUUID.Command)
	if err != nil {
		return fmt.Errorf("cannot give the btrfs on %s a new UUID: %w; install %s", device, err, f.newUUID.Package)
	}
	if _, err := h.RunHook(ctx, HookRequest{Command: []string{program, "-m", device}, Env: []string{"LC_ALL=C"}, Timeout: time.Minute}); err != nil {
		return fmt.Errorf("cannot give the btrfs on %s a new UUID: %w", device, err)
	}
	return nil
}
