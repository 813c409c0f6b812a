// Package host has the activities: what a worker does on its host, and what
// control does in the account, by running snaptastic and reading its JSON.
package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// Program runs snaptastic.
type Program struct {
	Path string
	Args []string // global flags
}

// Find returns the program: as named, beside this one, or in PATH.
func Find(named string, args []string) (Program, error) {
	if named == "" {
		if self, err := os.Executable(); err == nil {
			beside := filepath.Join(filepath.Dir(self), "snaptastic")
			if _, err := os.Stat(beside); err == nil {
				named = beside
			}
		}
	}
	if named == "" {
		named = "snaptastic"
	}
	path, err := exec.LookPath(named)
	if err != nil {
		return Program{}, fmt.Errorf("cannot find snaptastic: %w. Install it beside snaptastic-fleet, or name it as program in fleet.hcl", err)
	}
	return Program{Path: path, Args: args}, nil
}

// Exit is a command that ended with another code than 0. Its exit codes are documented: 2 usage, 4 needs an operator, 5 busy, 130 interrupted.
type Exit struct {
	Code   int // -1: ended by a signal
	Stderr string
}

func (e *Exit) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("snaptastic ended with code %d", e.Code)
	}
	return e.Stderr
}

// run runs a command and decodes the document on its stdout into out, also when
// it ends with a code other than 0. news gets each line of its events; it may be nil.
//
// The command is in a process group of its own and outlives this process: what
// was begun on the host is finished by the program that journals it, and the key
// finds it again.
func (p Program) run(ctx context.Context, out any, news func([]byte), args ...string) error {
	line := append(append([]string{}, p.Args...), args...)
	var stdout, stderr bytes.Buffer
	c := exec.Command(p.Path, append(line, "-o", "json")...)
	c.Stdout, c.Stderr = &stdout, &stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	events := make(chan struct{})
	if news != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		c.ExtraFiles = []*os.File{w}
		c.Args = append(c.Args, "--events", "/dev/fd/3")
		defer r.Close()
		defer w.Close()
		go func() { defer close(events); follow(r, news) }()
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("cannot run %s: %w", p.Path, err)
	}
	for _, f := range c.ExtraFiles {
		f.Close()
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// Only what asks to be stopped passes a context that ends.
		_ = c.Process.Signal(syscall.SIGTERM)
		err = <-ended
	}
	if stdout.Len() > 0 && out != nil {
		if bad := decode(&stdout, out); bad != nil && err == nil {
			return fmt.Errorf("cannot read what snaptastic printed: %w", bad)
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &Exit{Code: exit.ExitCode(), Stderr: lastError(stderr.String())}
	}
	return err
}

// results are of a command that may end several runs: a copy that was cut off has a result of its own before that of the new one.
type results []result

// decode reads the document, or the several ones of results.
func decode(text *bytes.Buffer, out any) error {
	all, several := out.(*results)
	if !several {
		return json.Unmarshal(text.Bytes(), out)
	}
	for d := json.NewDecoder(text); ; {
		var r result
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		*all = append(*all, r)
	}
}

func follow(r io.Reader, news func([]byte)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		news(s.Bytes())
	}
	_, _ = io.Copy(io.Discard, r)
}

// lastError is the program's own sentence: the line that begins with "error:" or the last one.
func lastError(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if after, ok := strings.CutPrefix(strings.ToLower(l), "error: "); ok {
			said := l[len(l)-len(after):]
			if strings.HasPrefix(l, "Error: ") { // in the settings: the file, its line and what is wrong follow
				said = strings.Join(strings.Fields(said+": "+strings.Join(lines[i+1:], " ")), " ")
				return cut(strings.TrimSuffix(said, ":"))
			}
			return cut(said + hint(lines[i+1:]))
		}
	}
	return cut(strings.TrimSpace(lines[len(lines)-1]))
}

func hint(after []string) string {
	for _, l := range after {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "hint: ") && len(l) > len("hint: ") {
			return sentence(strings.TrimPrefix(l, "hint: "))
		}
	}
	return ""
}

// sentence is a hint as it follows an error; nothing for none.
func sentence(hint string) string {
	if hint == "" {
		return ""
	}
	return ". " + strings.ToUpper(hint[:1]) + hint[1:]
}

// where are the flags that say where a host has its things. snaptastic writes them into the commands that it suggests; they are of no use
// elsewhere, and whoever is on the host knows them from the worker block.
var where = regexp.MustCompile(` --(?:state-dir|settings|sandbox|endpoint-url|metadata-url)(?: |=)(?:'(?:[^']|'\\'')*'|[A-Za-z0-9_@%+=:,./-]+)`)

// cut is a text as it may go into a history.
func cut(s string) string {
	s = where.ReplaceAllString(s, "")
	const most = 1000 // a history keeps it for weeks
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
