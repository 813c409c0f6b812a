package render

import (
	"bytes"
	"strings"
	"testing"
)

// Whatever the width, the verdict of each row, every id and each problem is there in full.
func TestATableNeverCutsItsResult(t *testing.T) {
	header := []string{"STATE", "AGE", "MOUNT POINT", "SNAPSHOT", "VOLUME"}
	long := "/srv/" + strings.Repeat("deeply/nested/", 12) + "data"
	rows := [][]string{
		{"ok", "2 h", "/mnt/a", "snap-0123456789abcdef0", "vol-0123456789abcdef0"},
		{"GAP", "40 h", long, "snap-0123456789abcdef1", "vol-0123456789abcdef1"},
	}
	problem := long + ": its newest snapshot is 40 h old"
	for width := 60; width <= 240; width += 5 {
		var b bytes.Buffer
		if err := CheckTable(&b, header, rows, []string{problem}, "gap", Style{Width: width}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		for i, want := range []string{"STATE ", "ok ", "GAP "} {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%d columns: %q does not begin with its verdict %q", width, lines[i], want)
			}
		}
		for i, line := range lines[:3] {
			if len(line) > width {
				t.Errorf("%d columns: line %d has %d", width, i, len(line))
			}
		}
		if width >= 80 && !strings.Contains(lines[2], "snap-0123456789abcdef1") {
			t.Errorf("%d columns: the id was cut: %s", width, lines[2])
		}
		if !strings.Contains(b.String(), "1 gap:\n  "+problem+"\n") {
			t.Errorf("%d columns: the problem is not repeated in full:\n%s", width, b.String())
		}
	}
}

func TestALongPathLosesItsMiddle(t *testing.T) {
	for _, c := range []struct {
		in   string
		to   int
		want string
	}{
		{"/mnt/a", 24, "/mnt/a"},
		{"/var/lib/postgresql/15/main", 24, "/var/lib~tgresql/15/main"},
		{"/mnt/ünïcödé/ünïcödé/ünïcödé", 12, "/mnt~ïcödé"},
	} {
		got := Style{}.middle(c.in, c.to)
		if width(got) > c.to || !strings.HasPrefix(c.in, got[:3]) || !strings.HasSuffix(c.in, got[len(got)-4:]) {
			t.Errorf("%q in %d columns is %q", c.in, c.to, got)
		}
	}
}
