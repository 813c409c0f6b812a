package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// Text that should be a number, a boolean or a time, whatever its key.
var (
	notText  = regexp.MustCompile(`^([-+]?[0-9]+(\.[0-9]+)? ?(%|B|bytes|[KMG]i?B|percent)?|true|false|null|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+)$`)
	likeTime = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]`)
	unitName = regexp.MustCompile(`_(seconds|bytes|gib|percent)$`)
)

// texts hold what users or EC2 wrote, under any name.
var texts = map[string]bool{"tags": true, "filter_tags": true, "params": true, "environ": true, "command": true, "options": true, "programs": true}

// numbers are counts, ids of the kernel, and in steps what the settings or EC2 call so: size in GiB, iops, throughput in MiB/s.
var numbers = map[string]bool{"size": true, "iops": true, "throughput": true, "seconds": true, "ms": true, "generation": true, "attempts": true, "schema": true,
	"exit_code": true, "pid": true, "guard_pid": true, "gaps": true, "running": true, "count": true, "major": true, "minor": true, "rounds": true, "members": true,
	"sets": true, "snapshots": true, "kept": true, "snapshots_without_full_size": true,
	"last": true, "hourly": true, "daily": true, "weekly": true, "monthly": true, "yearly": true, "years": true, "months": true, "days": true, "hours": true}

// documentProblems lists what is wrong with the values of a document.
func documentProblems(path, key string, v any) (wrong []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if !texts[k] {
				inside := k
				if key == "summary" { // counts by action
					inside = "count"
				}
				wrong = append(wrong, documentProblems(path+"."+k, inside, item)...)
			}
		}
	case []any:
		for _, item := range v {
			wrong = append(wrong, documentProblems(path+"[]", key, item)...)
		}
	case string:
		if notText.MatchString(v) && key != "version" && path != ".result" { // an HTTP status, or an error code of EC2
			wrong = append(wrong, fmt.Sprintf("%s is the text %q", path, v))
		}
		if t, err := time.Parse(time.RFC3339, v); likeTime.MatchString(v) && (err != nil || t.Location() != time.UTC) {
			wrong = append(wrong, fmt.Sprintf("%s is %q, no time in UTC", path, v))
		}
	case json.Number:
		if !numbers[key] && !unitName.MatchString(key) {
			wrong = append(wrong, fmt.Sprintf("%s is %s of no known unit", path, v))
		}
	}
	return wrong
}

func TestTheWalkFindsWhatIsNoNumber(t *testing.T) {
	for document, want := range map[string]bool{
		`{"a": "12"}`: true, `[{"b": "1.5s"}]`: true, `{"b": "1m30s"}`: true, `{"c": "true"}`: true, `{"c": "8 GiB"}`: true, `{"c": "40%"}`: true,
		`{"d": 5}`: true, `{"at": "2026-01-02T03:04:05+05:30"}`: true, `{"at": "2026-01-02 03:04:05"}`: true,
		`{"d_seconds": 5, "at": "2026-01-02T03:04:05.123Z", "id": "snap-0a1b", "tags": {"a": "12"}, "summary": {"create": 3}, "e": "took 5 s"}`: false,
	} {
		d := json.NewDecoder(strings.NewReader(document))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if wrong := documentProblems("", "", v); (len(wrong) > 0) != want {
			t.Errorf("%s: %q", document, wrong)
		}
	}
}

// In the JSON of every command numbers are numbers, with their unit in the name, and times are in UTC, whatever the zone of
// the machine.
func TestNumbersAreNumbersInAllJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.env = append(r.env, "TZ=Asia/Kolkata")
	r.hooked("  max_hold = \"20s\"\n  expire_after = \"3d\"\n" + "  hook \"pre_snapshot\" {\n    command = [\"true\"]\n    timeout = \"90s\"\n  }\n  hook \"pre_mounts\" {\n    command = [\"true\"]\n  }\n")
	printed, page := 0, readJSONPage(t)
	prints := func(args ...string) {
		t.Helper()
		_, out, stderr := r.apart(r.command(append(args, "-o", "json")...))
		d := json.NewDecoder(bytes.NewBufferString(out))
		d.UseNumber()
		for {
			var v any
			if err := d.Decode(&v); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v: %v\n%s%s", args, err, out, stderr)
			}
			printed++
			for _, wrong := range append(documentProblems("", "", v), page.problems("", object(args), v)...) {
				t.Errorf("%s: %s", strings.Join(args, " "), wrong)
			}
		}
		if out == "" {
			t.Errorf("%s prints no JSON: %s", strings.Join(args, " "), stderr)
		}
	}
	prints("version")
	prints("status")
	prints("plan", "mount", "db")
	prints("run", "mount", "db")
	prints("plan", "snapshot", "db")
	prints("run", "snapshot", "db")
	prints("plan", "unmount", "db")
	prints("thaw", r.mounts[0])
	for _, args := range [][]string{{"runs"}, {"status"}, {"volumes", "db"}, {"snapshots", "db"}, {"check", "db"}, {"doctor"}, {"sandbox", "log"}, {"clean", "snapshots", "--dry-run"},
		{"clean", "volumes", "--dry-run"}, {"clean", "images", "db", "--dry-run"}, {"clean", "instances"}, {"clean", "all", "db", "--dry-run"}} {
		prints(args...)
	}
	for _, j := range r.journals() {
		prints("show", strings.TrimSuffix(filepath.Base(j), ".db"))
	}
	prints("run", "unmount", "db")
	for _, how := range []string{"resume", "rollback"} {
		r.deleteDetached()
		r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded"})
		prints("run", "mount", "db")
		r.calm()
		id := r.unfinished()
		prints("status")
		prints("show", id[0])
		prints(how, id[0])
		if how == "resume" {
			prints("run", "unmount", "db")
		}
	}
	prints("resume")
	if printed < 30 {
		t.Errorf("%d documents", printed)
	}
}
