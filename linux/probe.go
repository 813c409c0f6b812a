package linux

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Classes of signature. A blank device has the class "".
const (
	ClassFileSystem     = "filesystem"
	ClassPartitionTable = "partition-table"
	ClassLVM            = "lvm"
	ClassRAID           = "raid"
	ClassLUKS           = "luks"
	ClassSwap           = "swap"
	// ClassUnfinished: Format began here and did not come to an end; UUID is the one that it was to write.
	ClassUnfinished = "unfinished"
	// ClassUnknown: not all zeros, and nothing this package knows.
	ClassUnknown = "unknown"
)

// Signature is what Probe found on a device.
type Signature struct {
	Class  string // see the constants; "" is blank
	Type   string // xfs, ext4, gpt, dos, LVM2_member, …, named as blkid names them
	UUID   string // lower case
	Label  string
	Offset int64 // bytes from the start of the device to the signature

	// Of a partition table: how many partitions the kernel shows, and of a single one its number and what it carries.
	Partitions int
	OnlyNumber int
	Only       *Signature
}

// Blank says that nothing at all was found.
func (s Signature) Blank() bool { return s.Class == "" }

func (s Signature) String() string {
	switch s.Class {
	case "":
		return "blank"
	case ClassUnknown:
		return fmt.Sprintf("unknown data at byte %d", s.Offset)
	case ClassUnfinished:
		return "an unfinished " + s.Type + " file system " + s.UUID
	}
	what := s.Type
	if s.Label != "" {
		what += fmt.Sprintf(" labelled %q", s.Label)
	}
	if s.UUID != "" {
		what += " " + s.UUID
	}
	return what
}

// mustBeZero is how much of either end of a device must read as zeros for it to pass as blank. A new EBS volume reads as
// zeros everywhere. https://docs.aws.amazon.com/ebs/latest/userguide/ebs-creating-volume.html
const mustBeZero = 1 << 20

// Probe tells what is on a device (or in an image file). It reads superblocks itself and trusts no cache such as blkid's.
// "Blank" is said only when no known signature is there, and both ends and all probed places are zeros; whatever else is
// not recognised has ClassUnknown. ErrDeviceBusy when it cannot be opened exclusively: it is mounted or part of another.
func (h *Host) Probe(ctx context.Context, path string) (Signature, error) {
	if err := ctx.Err(); err != nil {
		return Signature{}, err
	}
	f, err := h.openExclusive(path, os.O_RDONLY)
	if errors.Is(err, ErrDeviceBusy) {
		return Signature{}, err
	}
	if err != nil {
		return Signature{}, fmt.Errorf("cannot probe %s: %w", path, err)
	}
	s, err := probeFile(f)
	f.Close() // its partitions are in use as long as it is open alone
	if err != nil {
		return Signature{}, fmt.Errorf("cannot probe %s: %w", path, err)
	}
	if s.Class == ClassPartitionTable {
		h.inspect(ctx, path, &s)
	}
	return s, nil
}

// probeFile does the work of Probe on something already open.
func probeFile(f *os.File) (Signature, error) {
	size, err := sizeOf(f)
	if err != nil {
		return Signature{}, err
	}
	if size == 0 {
		return Signature{}, errors.New("it has no size (no medium, or not yet ready)")
	}
	return identify(f, size, func(s byteRange) { _ = unix.Fadvise(int(f.Fd()), s.at, s.n, unix.FADV_WILLNEED) })
}

// identify tells what size bytes hold. What it is going to read it first tells soon, so that the kernel can read it side
// by side: on a device that may be blank. Of another one it reads little, which the first time may be fetched from a
// snapshot far away.
func identify(from io.ReaderAt, size int64, soon func(byteRange)) (Signature, error) {
	r := &region{from: from, size: size}
	s := r.firstNonZero(soon)
	if s.Blank() { // so is every place of a signature
		return s, nil
	}
	unread := r.err // a bad sector is not in the way of a signature elsewhere
	r = &region{from: &edgeCache{from: from, size: size}, size: size}
	known, found := identifySignature(r)
	if !found {
		known, found = unfinished(r)
	}
	if found {
		return known, r.err
	}
	return s, cmp.Or(r.err, unread)
}

// identifySignature goes through every known signature, containers first: a partition table lies over what it partitions, and an
// LVM or RAID member may keep a file system's magic visible in its data.
func identifySignature(r *region) (Signature, bool) {
	for _, p := range probes {
		for _, at := range p.places(r.size) {
			if at < 0 || at+int64(len(p.magic)) > r.size || !bytes.Equal(r.bytes(at, len(p.magic)), []byte(p.magic)) {
				continue
			}
			s := Signature{Class: p.class, Type: p.name, Offset: at}
			if p.detail != nil && !p.detail(r, at, &s) {
				continue
			}
			s.UUID = strings.ToLower(s.UUID)
			return s, true
		}
	}
	return Signature{}, false
}

// edgeCache keeps what was read of a device's first and last MiB, in large pieces: there are over a thousand places to look at.
type edgeCache struct {
	from io.ReaderAt
	size int64
	kept map[int64][]byte // by offset
}

// readSize is how much is read at a time.
const readSize = 64 << 10

// ReadAt serves what lies in one piece of an end from memory.
func (e *edgeCache) ReadAt(b []byte, at int64) (int, error) {
	start := at / readSize * readSize
	middle := start >= mustBeZero && start+readSize <= e.size-mustBeZero
	if end := at + int64(len(b)); middle || end > start+readSize || end > e.size {
		return e.from.ReadAt(b, at)
	}
	kept, ok := e.kept[start]
	if !ok {
		kept = make([]byte, min(readSize, e.size-start))
		if n, _ := e.from.ReadAt(kept, start); n < len(kept) {
			return e.from.ReadAt(b, at) // a bad sector elsewhere in the piece is not what was asked for
		}
		if e.kept == nil {
			e.kept = map[int64][]byte{}
		}
		e.kept[start] = kept
	}
	return copy(b, kept[at-start:]), nil
}

// region reads a device piecewise; the first read error is kept, and what could not be read counts as data, never as
// blank.
type region struct {
	from io.ReaderAt
	size int64
	err  error
}

// bytes returns n bytes at an offset; past the end they are zeros.
func (r *region) bytes(at int64, n int) []byte {
	b := make([]byte, n)
	if at < 0 || at >= r.size {
		return b
	}
	r.read(b[:min(int64(n), r.size-at)], at)
	return b
}

func (r *region) read(b []byte, at int64) {
	n, err := r.from.ReadAt(b, at)
	if n == len(b) || r.err != nil {
		return
	}
	if r.err = err; err == nil || errors.Is(err, io.EOF) {
		r.err = errors.New("it has become smaller; check that it is still attached")
	}
}

// byteRange is a part of a device.
type byteRange struct{ at, n int64 }

// probedRanges are the parts that tell whether a device is blank: the first and last MiB, and the pages around the places of
// all known signatures.
func probedRanges(size int64) []byteRange {
	out := []byteRange{{0, min(mustBeZero, size)}, {max(0, size-mustBeZero), min(mustBeZero, size)}}
	for _, p := range probes {
		for _, at := range p.places(size) {
			if at >= mustBeZero && at < size-mustBeZero {
				from := at &^ 4095
				out = append(out, byteRange{from, (at+int64(len(p.magic))+4095)&^4095 - from})
			}
		}
	}
	return out
}

// firstNonZero finds the first byte that is not zero, or cannot be read, where it tells; a device without one is blank.
func (r *region) firstNonZero(soon func(byteRange)) Signature {
	buf := make([]byte, readSize)
	parts := probedRanges(r.size)
	for i, s := range parts {
		for at, end := s.at, min(s.at+s.n, r.size); at < end; at += readSize {
			b := buf[:min(readSize, end-at)]
			if r.read(b, at); r.err != nil {
				return Signature{Class: ClassUnknown, Offset: at}
			}
			if !allZero(b) {
				return Signature{Class: ClassUnknown, Offset: at + int64(len(b)-len(bytes.TrimLeft(b, "\x00")))}
			}
			if i == 0 && at == s.at {
				for _, s := range parts {
					soon(s)
				}
			}
		}
	}
	return Signature{}
}
