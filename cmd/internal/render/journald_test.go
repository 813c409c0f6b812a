package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

func TestUnderSystemdALineHasItsPriorityAndNoTime(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(t, &b, "trace", true)
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
	newLogger(t, &b, "info", false).Warn("w")
	if strings.HasPrefix(b.String(), "<") || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT`).MatchString(b.String()) {
		t.Errorf("elsewhere a line has a time and no priority: %q", b.String())
	}
}

func newLogger(t *testing.T, w io.Writer, level string, journal bool) *slog.Logger {
	t.Helper()
	log, err := NewLogger(w, level, false, journal)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestALogHasTheAttributesOfItsContextAndGroup(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(t, &b, "info", true)
	log.Debug("not at this level")
	log.With("run", plan.RunID("R")).WithGroup("call").With("action", "CreateVolume").Info("m", "in", time.Second, "error", errors.New("e"))
	if want := "<6>[INFO]  snaptastic: m: call.action=CreateVolume run=R call.in=1s call.error=e\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	if _, err := NewLogger(&b, "loud", false, false); err == nil {
		t.Error("an unknown level is accepted")
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
