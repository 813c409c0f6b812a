package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What follows reads a bbolt file before bbolt does. bbolt trusts its pages: a
// damaged one panics in a goroutine of its own, where the panic cannot be
// recovered, and a damaged meta page makes it fall back to the previous
// transaction silently, which loses the last intent. The format is that of bbolt's
// internal/common (page.go, meta.go, bucket.go), in the machine's byte order,
// which is little-endian wherever EC2 runs Linux.
const (
	pageHeader   = 16 // id u64, flags u16, count u16, overflow u32
	pageElement  = 16
	bucketHeader = 16 // root u64, sequence u64
	headSize     = 64
	boltMagic    = 0xED0CDAED
	boltVersion  = 2

	branchPage = 0x01
	leafPage   = 0x02
	bucketFlag = 0x01
)

var le = binary.LittleEndian

// A pageWalk visits every page that the newest transaction reaches.
type pageWalk struct {
	b       []byte
	size    uint64
	pages   uint64 // pages in use, by the head page
	visited map[uint64]bool
}

// checkFile is nil when every page of the journal is where it belongs and its
// keys are in order. It does not look into values.
func checkFile(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() == 0 { // bbolt would initialise an empty file
		return errDamaged("it is empty")
	}
	body := make([]byte, fi.Size())
	if n, err := io.ReadFull(io.NewSectionReader(f, 0, fi.Size()), body); err != nil {
		return fmt.Errorf("cannot read it beyond byte %d: %w", n, err)
	}
	return checkPages(body)
}

// errDamaged is a cause of damage, told apart from a file that cannot be read.
type errDamaged string

func (e errDamaged) Error() string { return string(e) }

func damagef(format string, a ...any) error { return errDamaged(fmt.Sprintf(format, a...)) }

func checkPages(b []byte) error {
	root, w, err := headOf(b)
	if err != nil {
		return err
	}
	return w.tree(root, nil, nil)
}

// headOf finds the newest of the two head pages. Both must be right and one
// transaction apart: they lie within one sector each, which no crash tears.
func headOf(b []byte) (root uint64, w *pageWalk, err error) {
	if len(b) < pageHeader+headSize {
		return 0, nil, damagef("it is truncated")
	}
	size := uint64(le.Uint32(b[pageHeader+8:]))
	if size < 512 || size > 1<<16 || size&(size-1) != 0 || uint64(len(b)) < 4*size {
		return 0, nil, damagef("its first page is not a journal page")
	}
	var txid [2]uint64
	for i := range txid {
		head := b[uint64(i)*size+pageHeader:][:headSize]
		h := fnv.New64a()
		_, _ = h.Write(head[:headSize-8])
		switch {
		case le.Uint32(head) != boltMagic || le.Uint32(head[4:]) != boltVersion || uint64(le.Uint32(head[8:])) != size:
			return 0, nil, damagef("head page %d is not a journal page", i)
		case le.Uint64(head[56:]) != h.Sum64():
			return 0, nil, damagef("head page %d has a bad checksum", i)
		}
		txid[i] = le.Uint64(head[48:])
	}
	newest := uint64(0)
	if txid[1] > txid[0] {
		newest = 1
	}
	if txid[newest] != txid[1-newest]+1 {
		return 0, nil, damagef("its head pages are of transactions %d and %d", txid[0], txid[1])
	}
	head := b[newest*size+pageHeader:]
	w = &pageWalk{b: b, size: size, pages: le.Uint64(head[40:]), visited: map[uint64]bool{}}
	if w.pages > uint64(len(b))/size {
		return 0, nil, damagef("it is truncated: it has %d of %d pages", uint64(len(b))/size, w.pages)
	}
	return le.Uint64(head[16:]), w, nil
}

// tree checks the page id and what is below it. Its keys are lo or after, and
// before hi; nil is no bound.
func (w *pageWalk) tree(id uint64, lo, hi []byte) error {
	if id < 2 || id >= w.pages {
		return damagef("page %d is outside of the file", id)
	}
	at := w.b[id*w.size:]
	if got := le.Uint64(at); got != id {
		return damagef("page %d has number %d", id, got)
	}
	n := uint64(le.Uint32(at[12:])) + 1
	if id+n > w.pages {
		return damagef("page %d runs beyond the end of the file", id)
	}
	for i := id; i < id+n; i++ {
		if w.visited[i] {
			return damagef("page %d is used twice", i)
		}
		w.visited[i] = true
	}
	return w.page(at[:n*w.size], lo, hi, fmt.Sprint("page ", id))
}

// An element is a key of a page with what belongs to it: a page below it, or a
// value.
type element struct {
	key, value []byte
	child      uint64
	flags      uint32
}

// page checks a page with its header; one inside a bucket's value has no
// number of its own.
func (w *pageWalk) page(p, lo, hi []byte, name string) error {
	elements, branch, err := elementsOf(p, name)
	if err != nil {
		return err
	}
	for i, e := range elements {
		if bytes.Compare(e.key, lo) < 0 || i > 0 && bytes.Equal(e.key, lo) || hi != nil && bytes.Compare(e.key, hi) >= 0 {
			return damagef("%s: key %d is out of order", name, i)
		}
		lo = e.key
		switch {
		case branch:
			next := hi
			if i+1 < len(elements) {
				next = elements[i+1].key
			}
			err = w.tree(e.child, e.key, next)
		case e.flags == bucketFlag:
			err = w.bucket(e.value, fmt.Sprintf("bucket %q", e.key))
		case e.flags != 0:
			err = damagef("%s: key %d has an unknown type", name, i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elementsOf reads a page. Keys and values lie behind the elements in their
// order, without a gap.
func elementsOf(p []byte, name string) (out []element, branch bool, err error) {
	flags, count := le.Uint16(p[8:]), int(le.Uint16(p[10:]))
	branch = flags == branchPage
	if flags != leafPage && !branch {
		return nil, false, damagef("%s has an unknown type", name)
	}
	end := pageHeader + count*pageElement
	if end > len(p) || branch && count == 0 {
		return nil, false, damagef("%s cannot hold %d keys", name, count)
	}
	for i := range count {
		off := pageHeader + i*pageElement
		raw := p[off:]
		e := element{}
		pos, ksize, vsize := le.Uint32(raw), le.Uint32(raw[4:]), uint32(0)
		if branch {
			e.child = le.Uint64(raw[8:])
		} else {
			e.flags = pos
			pos, ksize, vsize = ksize, le.Uint32(raw[8:]), le.Uint32(raw[12:])
		}
		mid := end + int(ksize)
		stop := mid + int(vsize)
		if off+int(pos) != end || ksize == 0 || stop > len(p) {
			return nil, false, damagef("%s: key %d is in the wrong place", name, i)
		}
		e.key, e.value = p[end:mid], p[mid:stop]
		out = append(out, e)
		end = stop
	}
	return out, branch, nil
}

func (w *pageWalk) bucket(v []byte, name string) error {
	if len(v) < bucketHeader {
		return damagef("%s is truncated", name)
	}
	if root := le.Uint64(v); root != 0 {
		return w.tree(root, nil, nil)
	}
	if len(v) < bucketHeader+pageHeader {
		return damagef("%s is truncated", name)
	}
	return w.page(v[bucketHeader:], nil, nil, name)
}
