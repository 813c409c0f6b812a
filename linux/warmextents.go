package linux

import "sort"

// A dataExtent is a range of a device that holds data, in bytes. Where file is set, start only orders it, and its data is read from
// that file at the offset at: the addresses that btrfs gives are not those of a device.
type dataExtent struct {
	start, length int64
	file          string // below the mount point; "" for the device
	at            int64
	// encoded: it is compressed, and its length is that of the data, of which the device has less. Reading any part of it reads
	// all of it. https://github.com/torvalds/linux/blob/master/fs/btrfs/compression.c (btrfs_submit_compressed_read)
	encoded bool
}

func (e dataExtent) end() int64 { return e.start + e.length }

// covers is up to where an extent is known to be on the device: one that is compressed may end anywhere behind its start.
func (e dataExtent) covers() int64 {
	if e.encoded {
		return e.start + 1
	}
	return e.end()
}

// from leaves out what lies before an offset.
func (e dataExtent) from(offset int64) dataExtent {
	if cut := offset - e.start; cut > 0 {
		e.start, e.at, e.length = offset, e.at+cut, e.length-cut
	}
	return e
}

// followedBy reports whether o goes on where e ends, so that one read takes both.
func (e dataExtent) followedBy(o dataExtent) bool {
	return !e.encoded && !o.encoded && e.end() == o.start && e.file == o.file && (e.file == "" || e.at+e.length == o.at)
}

// mergeExtents sorts by offset, drops what is there twice, since files share blocks, and joins what touches. What is compressed
// ends where the next extent begins, at the latest. It uses the list's array.
func mergeExtents(list []dataExtent) []dataExtent {
	sort.Slice(list, func(i, j int) bool { return list[i].start < list[j].start })
	out := list[:0]
	covered := int64(0) // up to which offset
	for _, e := range list {
		if e.encoded && e.start < covered { // another part of what is read as a whole
			continue
		}
		if e = e.from(covered); e.length <= 0 {
			continue
		}
		covered = e.covers()
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.followedBy(e) {
				last.length += e.length
				continue
			}
			last.length = min(last.length, e.start-last.start)
		}
		out = append(out, e)
	}
	return out
}

// withoutExtents leaves out of a merged list what another one has.
func withoutExtents(list, others []dataExtent) []dataExtent {
	var out []dataExtent
	for _, e := range list {
		for len(others) > 0 && others[0].covers() <= e.start {
			others = others[1:]
		}
		for _, o := range others {
			if o.start >= e.end() {
				break
			}
			if before := o.start - e.start; before > 0 {
				head := e
				head.length = before
				out = append(out, head)
			}
			if e.encoded { // what follows is another extent
				e.length = 0
				break
			}
			e = e.from(o.covers())
		}
		if e.length > 0 {
			out = append(out, e)
		}
	}
	return out
}

// extentsFrom leaves out of a merged list what lies before an offset.
func extentsFrom(list []dataExtent, offset int64) []dataExtent {
	i := sort.Search(len(list), func(i int) bool { return list[i].end() > offset })
	out := append([]dataExtent(nil), list[i:]...)
	if len(out) > 0 {
		out[0] = out[0].from(offset)
	}
	return out
}

// takePiece is the first piece of a list, of at most so many bytes, and what is left. It changes the list.
func takePiece(list []dataExtent, most int64) (dataExtent, []dataExtent) {
	e := list[0]
	length := min(e.length, most)
	piece := e
	piece.length = length
	if length == e.length {
		return piece, list[1:]
	}
	list[0] = e.from(e.start + length)
	return piece, list
}

func bytesIn(list []dataExtent) (n int64) {
	for _, e := range list {
		n += e.length
	}
	return n
}
