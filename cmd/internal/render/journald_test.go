package render

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

func TestUnderSystemdALineHasItsPriorityAndNoTime(t *testing.T) {
	var b bytes.Buffer
	log := NewLogger(&b, hclog.Trace, false, true)
	log.Error("e")
	log.Warn("w", "lines", "one\ntwo")
	log.Info("i")
	log.Debug("d")
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if !regexp.MustCompile(`^<[3467]>`).MatchString(line) {
			t.Errorf("line %d has no priority: %q", i, line)
		}
	}
	for _, want := range []string{"<3>[ERROR] snaptastic: e", "<4>[WARN]  snaptastic: w", "<6>[INFO]  snaptastic: i", "<7>[DEBUG] snaptastic: d"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if regexp.MustCompile(`\d\d:\d\d`).MatchString(b.String()) {
		t.Errorf("a time is written, as the journal does itself:\n%s", b.String())
	}

	b.Reset()
	NewLogger(&b, hclog.Info, false, false).Warn("w")
	if strings.HasPrefix(b.String(), "<") || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT`).MatchString(b.String()) {
		t.Errorf("elsewhere a line has a time and no priority: %q", b.String())
	}
}

func TestTheJournalIsKnownByItsStream(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for _, c := range []struct {
		f      *os.File
		stream string
		want   bool
	}{
		{file, own, true}, {file, "8:12345678901", false}, {file, "", false}, {file, "nonsense", false},
		{w, "8:12345678901", true}, {w, "", false},
	} {
		if got := ToJournal(c.f, func(string) string { return c.stream }); got != c.want {
			t.Errorf("%s with JOURNAL_STREAM=%q: %v", c.f.Name(), c.stream, got)
		}
	}
}
