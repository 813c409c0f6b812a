package render

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Priorities that systemd reads at the beginning of a line: syslog's.
// Source: https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html
const (
	priorityError   = "<3>"
	priorityWarning = "<4>"
	priorityInfo    = "<6>"
	priorityDebug   = "<7>"
)

// ToJournal says whether what is written to f ends in systemd's journal: JOURNAL_STREAM names its device and inode, or f is a
// pipe inside such a unit, whose reader writes there in its turn. The journal has times and priorities of its own.
// Source: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
func ToJournal(f *os.File, getenv func(string) string) bool {
	var dev, inode uint64
	stream := getenv("JOURNAL_STREAM")
	if n, _ := fmt.Sscanf(stream, "%d:%d", &dev, &inode); n != 2 {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	return st.Dev == dev && st.Ino == inode || st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// AsErrors marks each line that is written to w as an error for the journal.
func AsErrors(w io.Writer) io.Writer { return prioritized{w, priorityError} }

// prioritized puts a priority before each line. What is written at once is whole lines.
type prioritized struct {
	w        io.Writer
	priority string
}

func (p prioritized) Write(b []byte) (int, error) {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		out.WriteString(p.priority)
		out.Write(line)
	}
	if _, err := out.WriteTo(p.w); err != nil {
		return 0, err
	}
	return len(b), nil
}
