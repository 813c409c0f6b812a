package linux

import (
	"slices"
	"strings"
	"testing"
)

// cells are what some extents cover, as a set: the model that their arithmetic is held against.
func cells(list []dataExtent) map[int64]bool {
	out := map[int64]bool{}
	for _, e := range list {
		for i := range e.length {
			out[e.start+i] = true
		}
	}
	return out
}

func FuzzExtents(f *testing.F) {
	f.Add([]byte{0, 4, 4, 4, 2, 9, 30, 1}, []byte{3, 2}, byte(5))
	f.Add([]byte{9, 9, 9, 3, 1, 20}, []byte{0, 255}, byte(0))
	f.Fuzz(func(t *testing.T, a, b []byte, offset byte) {
		read := func(raw []byte) (list []dataExtent) {
			for ; len(raw) >= 2 && len(list) < 50; raw = raw[2:] {
				e := dataExtent{start: int64(raw[0]), length: int64(raw[1] % 32)}
				if raw[0]%5 == 0 {
					e.file, e.at = "file", e.start+7
				}
				list = append(list, e)
			}
			return list
		}
		check := func(what string, list []dataExtent, want func(int64) bool) {
			t.Helper()
			for i, e := range list {
				if e.length <= 0 || i > 0 && e.start < list[i-1].end() {
					t.Fatalf("%s is not in order: %v", what, list)
				}
				if e.file != "" && e.at != e.start+7 {
					t.Fatalf("%s reads another place of the file: %+v", what, e)
				}
			}
			got := cells(list)
			for i := range int64(300) {
				if got[i] != want(i) {
					t.Fatalf("%s: cell %d is %v: %v", what, i, got[i], list)
				}
			}
		}
		first, second := read(a), read(b)
		inFirst, inSecond := cells(first), cells(second)
		first, second = mergeExtents(first), mergeExtents(second)
		check("merged", first, func(i int64) bool { return inFirst[i] })
		rest := withoutExtents(slices.Clone(second), first)
		check("the rest", rest, func(i int64) bool { return inSecond[i] && !inFirst[i] })
		check("from an offset", extentsFrom(first, int64(offset)), func(i int64) bool { return inFirst[i] && i >= int64(offset) })
		var pieces []dataExtent
		for left := slices.Clone(first); len(left) > 0; {
			var piece dataExtent
			if piece, left = takePiece(left, 8); piece.length > 8 {
				t.Fatalf("a piece of %d", piece.length)
			}
			pieces = append(pieces, piece)
		}
		check("pieces", pieces, func(i int64) bool { return inFirst[i] })
	})
}

func TestExtentsThatTouchAreOneRead(t *testing.T) {
	got := mergeExtents([]dataExtent{{start: 8, length: 4}, {start: 0, length: 4}, {start: 4, length: 4}, {start: 20, length: 1}, {start: 0, length: 6}})
	if want := []dataExtent{{start: 0, length: 12}, {start: 20, length: 1}}; !slices.Equal(got, want) {
		t.Errorf("merged: %v; want %v", got, want)
	}
}

// The length of what is compressed is that of the data: on the device others follow before.
func TestWhatIsCompressedDoesNotCoverWhatFollowsIt(t *testing.T) {
	compressed := func(start int64, file string, at int64) dataExtent {
		return dataExtent{start: start, length: 128, file: file, at: at, encoded: true}
	}
	plain := func(start, length int64, file string) dataExtent {
		return dataExtent{start: start, length: length, file: file}
	}
	cut := func(e dataExtent, length int64) dataExtent { e.length = length; return e }
	got := mergeExtents([]dataExtent{plain(104, 8, "b"), compressed(100, "a", 0), compressed(112, "a", 128), compressed(100, "shared", 64), plain(116, 300, "c"), compressed(416, "d", 0)})
	want := []dataExtent{cut(got[0], 4), plain(104, 8, "b"), cut(compressed(112, "a", 128), 4), plain(116, 300, "c"), compressed(416, "d", 0)}
	if !slices.Equal(got, want) || got[0].start != 100 || !got[0].encoded {
		t.Errorf("merged: %v; want %v", got, want)
	}
	rest := withoutExtents(got, []dataExtent{compressed(100, "shared", 64), plain(116, 300, "c")})
	if want := []dataExtent{plain(104, 8, "b"), cut(compressed(112, "a", 128), 4), compressed(416, "d", 0)}; !slices.Equal(rest, want) {
		t.Errorf("the rest: %v; want %v", rest, want)
	}
	if rest := withoutExtents([]dataExtent{compressed(100, "a", 0)}, []dataExtent{plain(104, 8, "b")}); !slices.Equal(rest, []dataExtent{cut(compressed(100, "a", 0), 4)}) {
		t.Errorf("before another one: %v", rest)
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		glob, name     string
		matches, below bool
	}{
		{"pg_wal/**", "pg_wal/000", true, true},
		{"pg_wal/**", "pg_wal/archive/000", true, true},
		{"pg_wal/**", "pg_wal", false, true},
		{"pg_wal/**", "base/1", false, false},
		{"**", "a", true, true},
		{"**/*.ibd", "db/t.ibd", true, true},
		{"**/*.ibd", "t.ibd", true, true},
		{"**/*.ibd", "db/t.frm", false, true},
		{"base/*/1", "base/5/1", true, false},
		{"base/*/1", "base/5", false, true},
		{"base/*", "base/5", true, false},
		{"base/*", "base/5/1", false, false},
		{"a/**/z", "a/z", true, true},
		{"a/**/z", "a/b/c/z", true, true},
		{"ibdata?", "ibdata1", true, false},
	} {
		glob, name := split(c.glob), split(c.name)
		if got := matchesGlob(glob, name); got != c.matches {
			t.Errorf("%s matches %s: %v", c.glob, c.name, got)
		}
		if got := matchesBelow(glob, name); got != c.below {
			t.Errorf("%s matches below %s: %v", c.glob, c.name, got)
		}
	}
	deep := split(strings.Repeat("a/", 400) + "b")
	if many := split(strings.Repeat("**/a/", 20) + "c"); matchesGlob(many, deep) {
		t.Error("it ends in b")
	}
	if many := split(strings.Repeat("**/a/", 20) + "b"); !matchesGlob(many, deep) {
		t.Error("it ends in b, too")
	}
	for pattern, good := range map[string]bool{".": false, "a**": false, "***": false, "base/**.ibd": false, "**/**": true, "pg_wal/**": true, "a/[bc]/*": true, "/abs": false, "": false, "../x": false, "a//b": false, "a/[": false, "a/": false} {
		if err := CheckGlob(pattern); (err == nil) != good {
			t.Errorf("CheckGlob(%q) = %v", pattern, err)
		}
	}
}
