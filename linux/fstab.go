package linux

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// FstabLine is a line of fstab that mounts something.
type FstabLine struct {
	Place string // file:line
	Text  string
}

// FstabLine returns the line of fstab that is for the same directory as target. systemd makes a unit of each line, whatever its
// options, and mounts and unmounts by that (systemd-fstab-generator(8)).
func (h *Host) FstabLine(target string) (FstabLine, bool) {
	f, err := os.Open(h.fstab)
	if err != nil {
		return FstabLine{}, false
	}
	defer f.Close()
	leads := ""
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		if leads == "" {
			leads = LeadsTo(target)
		}
		if LeadsTo(unescape.Replace(fields[1])) == leads {
			return FstabLine{Place: fmt.Sprintf("%s:%d", h.fstab, n), Text: strings.Join(fields, " ")}, true
		}
	}
	return FstabLine{}, false
}

// unescape undoes what fstab(5), and the kernel in /proc/swaps, write for characters that would end a field.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
