package settings

import (
	"strings"
	"testing"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "",
		"  ":                  "",
		"-m reflink=1":        "-m|reflink=1",
		" -a\t-b \n":          "-a|-b",
		`-L 'my data'`:        "-L|my data",
		`-L "my \"data\""`:    `-L|my "data"`,
		`-L my\ data`:         "-L|my data",
		`-L ''`:               "-L|",
		`a'b'"c"d`:            "abcd",
		`'single \ is plain'`: `single \ is plain`,
	} {
		got, err := splitWords(line)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q is %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`'`, `"a`, `a\`, `"a\"`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%q is %q; want an error", line, got)
		}
	}
}
