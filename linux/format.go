package linux

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// FormatRequest asks for a file system on a blank device.
type FormatRequest struct {
	Device     string
	FileSystem string // xfs, ext2, ext3, ext4, btrfs, f2fs, jfs, reiserfs
	UUID       string // see UUIDFromToken
	Label      string
	Options    []string // words given to mkfs before the device
	Root       RootAttributes
}

// Format makes a file system with the given UUID. It probes again right before, whatever the caller probed, and refuses
// (ErrNotBlank) unless the device is blank or carries this very UUID: its own half-made work. Nothing is discarded: a new
// EBS volume is empty already. A missing mkfs is named with its package; mkfs's own words are in the error.
func (h *Host) Format(ctx context.Context, q FormatRequest) error {
	if err := h.format(ctx, q); err != nil {
		return fmt.Errorf("cannot make %s on %s: %w", q.FileSystem, q.Device, err)
	}
	return nil
}

func (h *Host) format(ctx context.Context, q FormatRequest) error {
	args, err := mkfsArgs(q)
	if err != nil {
		return err
	}
	if missing := MissingTools(q.FileSystem); len(missing) > 0 {
		return fmt.Errorf("%s is missing: install the package %s", missing[0].Command, missing[0].Package)
	}
	root, err := q.Root.resolve()
	if err != nil {
		return err
	}
	if err := h.readyForMkfs(ctx, q); err != nil {
		return err
	}
	if err := runTool(ctx, "mkfs."+q.FileSystem, args...); err != nil {
		return err
	}
	if f, _ := fileSystemOf(q.FileSystem); f.setUUID != nil && q.UUID != "" {
		if err := runTool(ctx, f.setUUID[0], append(f.setUUID[1:len(f.setUUID):len(f.setUUID)], q.UUID, q.Device)...); err != nil {
			return err
		}
	}
	return setRoot(q.Device, q.FileSystem, root)
}

// mkfsArgs gives the words for mkfs, the UUID and the label among them.
func mkfsArgs(q FormatRequest) ([]string, error) {
	known, ok := fileSystemOf(q.FileSystem)
	if !ok {
		return nil, fmt.Errorf("unknown file system; supported: %s", strings.Join(FileSystems(), " "))
	}
	args := slices.Clone(known.mkfs)
	for _, x := range []struct{ flag, value string }{{known.uuid, q.UUID}, {known.label, q.Label}} {
		if x.flag != "" && x.value != "" {
			flag, key, _ := strings.Cut(x.flag, " ") // xfs: -m uuid=
			args = append(args, flag, key+x.value)
		}
	}
	return append(mergeExtended(args, q.Options), q.Device), nil
}

// mergeExtended appends the caller's words to ours. mke2fs heeds only its last -E, so a caller's -E joins ours.
func mergeExtended(args, options []string) []string {
	e := slices.Index(args, "-E")
	for i := 0; i < len(options); i++ {
		if e >= 0 && options[i] == "-E" && i+1 < len(options) {
			args[e+1] += "," + options[i+1]
			i++
			continue
		}
		args = append(args, options[i])
	}
	return args
}

// runTool runs a tool to its end. It dies with this process, so that no orphan goes on formatting while a resumed run looks at
// the device; the signal is bound to the starting thread, hence the lock.
func runTool(ctx context.Context, name string, args ...string) error {
	path, err := findTool(name)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", name, context.Cause(ctx))
		}
		return fmt.Errorf("%s: %w: %s", name, err, abbreviate(out.String()))
	}
	return nil
}

// abbreviate puts a tool's output into one line for an error: its beginning and its end, between which some print their manual.
func abbreviate(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) > 6 {
		lines = slices.Concat(lines[:3], []string{"…"}, lines[len(lines)-3:])
	}
	return strings.Join(lines, " | ")
}

// A mark is written before mkfs runs. mkfs writes its superblock last, so a mkfs that is killed leaves data without a
// signature, which nobody could tell from somebody's raw data: a mark that survived says whose it is. Marks stand where
// mkfs does not write or wipes with zeros; what is left of them in a finished file system is free space.
const markMagic = "snaptastic unfinished mkfs\x00"

const markSize = 512

// markPlaces: none near the very start, where a half-written superblock and the mark could look like both.
func markPlaces(size int64) []int64 {
	if size < 4*mustBeZero {
		return nil
	}
	return []int64{mustBeZero - 4096, mustBeZero / 2, size - mustBeZero/4, size - mustBeZero + 4096}
}

// readyForMkfs probes and, if the device may be formatted, marks it, through one descriptor: what the probe read is still
// in the cache when the marks are written. The descriptor keeps nobody out (see checkExclusive), so that it is asked once more
// before the first write whether somebody is in.
func (h *Host) readyForMkfs(ctx context.Context, q FormatRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := h.openExclusive(q.Device, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := probeFile(f)
	if err != nil {
		return err
	}
	if !s.Blank() && (s.UUID == "" || !strings.EqualFold(s.UUID, q.UUID)) {
		return fmt.Errorf("it contains %s: %w", s, ErrNotBlank)
	}
	if q.UUID == "" {
		return nil
	}
	if err := h.checkExclusive(q.Device, os.O_RDWR); err != nil {
		return err
	}
	return markUnfinished(f, q, s)
}

// markUnfinished writes the marks, and then wipes an older superblock of ours: mkfs.btrfs refuses a UUID that it finds on any
// device, this one too.
func markUnfinished(f *os.File, q FormatRequest, old Signature) error {
	size, err := sizeOf(f)
	if err != nil {
		return err
	}
	mark := make([]byte, markSize)
	copy(mark, markMagic+q.FileSystem+"\x00"+strings.ToLower(q.UUID)+"\x00")
	for _, at := range markPlaces(size) {
		if _, err := f.WriteAt(mark, at); err != nil {
			return fmt.Errorf("cannot write to the device: %w", err)
		}
	}
	known, _ := fileSystemOf(old.Type)
	if err := f.Sync(); err != nil || known.newUUID.Command == "" || old.Class != ClassFileSystem {
		return err
	}
	for _, p := range probes {
		if p.name != old.Type {
			continue
		}
		for _, at := range p.places(size) {
			if at+4096 > size {
				continue
			}
			if _, err := f.WriteAt(make([]byte, len(p.magic)), at); err != nil {
				return fmt.Errorf("cannot write to the device: %w", err)
			}
		}
	}
	return f.Sync()
}

// unfinished looks for a mark where no signature was found.
func unfinished(r *region) (Signature, bool) {
	for _, at := range markPlaces(r.size) {
		rest, ok := bytes.CutPrefix(r.bytes(at, markSize), []byte(markMagic))
		if !ok {
			continue
		}
		if words := strings.SplitN(string(rest), "\x00", 3); len(words) == 3 {
			return Signature{Class: ClassUnfinished, Type: words[0], UUID: words[1], Offset: at}, true
		}
	}
	return Signature{}, false
}
