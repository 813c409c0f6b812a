package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// fields names the fields as JSON does.
func (l *Latency) fields() map[string]*time.Duration {
	return map[string]*time.Duration{
		"request": &l.Request, "create": &l.Create, "attach": &l.Attach, "detach": &l.Detach, "snapshot": &l.Snapshot, "copy": &l.Copy,
		"modify": &l.Modify, "image": &l.Image, "run": &l.Run, "lag": &l.Lag,
	}
}

// Set reads what String writes, such as "create=2s,lag=500ms". With String and
// Type it makes a command line flag of a Latency.
func (l *Latency) Set(text string) error {
	named := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%q is not of the form NAME=DURATION", part)
		}
		named[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return l.set(named)
}

// String lists what is not zero.
func (l *Latency) String() string {
	var parts []string
	named := l.fields()
	for _, name := range sortedKeys(named) {
		if d := *named[name]; d != 0 {
			parts = append(parts, name+"="+d.String())
		}
	}
	return strings.Join(parts, ",")
}

// Type names the value in a command's help.
func (l *Latency) Type() string { return "NAME=DURATION,…" }

// set overrides the fields that text names.
func (l *Latency) set(text map[string]string) error {
	known := l.fields()
	for name, value := range text {
		target, ok := known[name]
		if !ok {
			return fmt.Errorf("unknown latency %q: expected one of %s", name, strings.Join(sortedKeys(known), ", "))
		}
		if err := parseDuration(value, target); err != nil {
			return fmt.Errorf("latency %s: %w", name, err)
		}
	}
	return nil
}

func parseDuration(text string, target *time.Duration) error {
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	*target = d
	return nil
}

// decodeStrict decodes JSON and rejects unknown fields: a misspelt fault must not be ignored silently.
func decodeStrict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func fileNumber(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
