package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// A lookRig is a sandbox without devices, for commands that only look.
type readRig struct {
	t        *testing.T
	dir      string
	server   *sandbox.Server
	settings string
}

func newReadRig(t *testing.T, hcl string, faults ...sandbox.Fault) *readRig {
	t.Helper()
	dir := t.TempDir()
	s, err := sandbox.Serve(t.Context(), sandbox.Config{Dir: filepath.Join(dir, "sandbox"), FilesOnly: true, Faults: faults}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := &readRig{t: t, dir: dir, server: s, settings: filepath.Join(dir, "snaptastic.hcl")}
	if err := os.WriteFile(r.settings, []byte(hcl), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "snaptastic")); err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs the program, without its settings when the first word is "bare".
func (r *readRig) run(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	if args[0] == "bare" {
		args = args[1:]
	} else {
		args = append([]string{"--settings", r.settings}, args...)
	}
	cmd := exec.Command(filepath.Join(r.dir, "snaptastic"), args...)
	cmd.Dir = r.dir + "/sandbox" // no snaptastic.hcl there
	cmd.Env = append(os.Environ(), r.server.Environment()...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			r.t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return code, out.String(), errs.String()
}

// wants runs it and holds the exit code and the output against patterns; one
// that begins with ! must not be there.
func (r *readRig) wants(code int, args []string, patterns ...string) string {
	r.t.Helper()
	got, stdout, stderr := r.run(args...)
	if got != code {
		r.t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	for _, p := range patterns {
		not := strings.HasPrefix(p, "!")
		if regexp.MustCompile("(?m)"+strings.TrimPrefix(p, "!")).MatchString(stdout+stderr) == not {
			r.t.Errorf("%v: looked for %q in\n%s%s", args, p, stdout, stderr)
		}
	}
	return stdout
}

func (r *readRig) volume(device string, tags map[string]string) string {
	r.t.Helper()
	id, err := r.server.Sandbox.AddVolume(device, 1, tags)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *readRig) snapshot(volume string, age time.Duration, tags map[string]string) string {
	r.t.Helper()
	s := sandbox.Snapshot{VolumeID: volume, Started: time.Now().Add(-age), Tags: sandbox.Tags{}}
	for k, v := range tags {
		s.Tags[k] = sandbox.TagValue{Value: v}
	}
	id, err := r.server.Sandbox.AddSnapshot(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *readRig) edit(id string, f func(*sandbox.Snapshot)) {
	r.t.Helper()
	if err := r.server.Sandbox.EditSnapshot(id, f); err != nil {
		r.t.Fatal(err)
	}
}

const readSettings = `
snapshotter "db" {
  filter_tags = { environment = "test", cluster = "c1", role = "db" }
  volume "/dev/sdf" { mount_point = "/mnt/a" }
}
snapshotter "web" {
  filter_tags = { environment = "test", cluster = "c1", role = "db" }
  volume "/dev/sdg" { mount_point = "/mnt/web" }
}
`

func dbTags(mp string, more ...string) map[string]string {
	tags := map[string]string{"environment": "test", "cluster": "c1", "role": "db", steps.TagMountPoint: mp}
	for i := 0; i < len(more); i += 2 {
		tags[more[i]] = more[i+1]
	}
	return tags
}

var labelled = []string{steps.TagState, steps.Consistent, steps.TagRun, "R1", steps.TagToken, "t1", steps.TagMembers, "1"}

// TestCheckOverTheWire ages a snapshot in the sandbox and asks in every way.
func TestCheckOverTheWire(t *testing.T) {
	t.Parallel()
	r := newReadRig(t, readSettings)
	r.wants(1, []string{"check", "db"}, `db /mnt/a: no volume is in use; no snapshot exists`)
	v := r.volume("/dev/sdf", dbTags("/mnt/a"))
	r.wants(1, []string{"check", "db"}, `^GAP +- +/mnt/a +- +`+v, `db /mnt/a `+v+` on i-[0-9a-f]+: no snapshot exists`)
	s := r.snapshot(v, time.Hour, dbTags("/mnt/a", labelled...))
	r.wants(0, []string{"check", "db"}, `^ok +60 min +/mnt/a +`+s+` +`+v+` .* db$`, `1 volume in use on 1 mount point, each with a restorable snapshot of the last 26h$`, "!gap")
	r.wants(0, []string{"check-backups", "db", "--max-age", "61m"})
	r.wants(1, []string{"check-backups", "db", "--max-age", "59m"}, s+` is 1h(\d+s)? old .limit 59m.`)

	for _, c := range []struct {
		age  time.Duration
		max  string
		code int
	}{
		{25*time.Hour + 59*time.Minute, "26h", 0}, {26*time.Hour + time.Minute, "26h", 1}, {26*time.Hour + time.Minute, "2d", 0},
		{7*24*time.Hour - time.Minute, "7d", 0}, {7*24*time.Hour + time.Minute, "7d", 1}, {13 * 24 * time.Hour, "2w", 0}, {15 * 24 * time.Hour, "2w", 1},
		{29 * time.Minute, "30m", 0}, {31 * time.Minute, "30m", 1},
	} {
		r.edit(s, func(s *sandbox.Snapshot) { s.Started = time.Now().Add(-c.age) })
		r.wants(c.code, []string{"check", "db", "--max-age", c.max})
	}
	r.edit(s, func(s *sandbox.Snapshot) { s.Started, s.Forced = time.Now(), "pending" })
	r.wants(1, []string{"check", "db"}, s+` is pending`)
	r.edit(s, func(s *sandbox.Snapshot) {
		s.Forced, s.Tags[steps.TagState] = "", sandbox.TagValue{Value: steps.Unverified}
	})
	r.wants(1, []string{"check", "db"}, s+` is not labelled consistent`)
	r.edit(s, func(s *sandbox.Snapshot) {
		s.Tags = sandbox.Tags{"environment": {Value: "test"}, "cluster": {Value: "c1"}, "role": {Value: "db"}, "mount_point": {Value: "/mnt/a/"}}
	})
	r.wants(0, []string{"check", "db"}) // the original's, with its slash
	r.wants(1, []string{"check"}, `web /mnt/web: no volume is in use`, `^ok +[0-9]+ s +/mnt/a`)
}

// TestCheckFormats reads what monitoring reads.
func TestCheckFormats(t *testing.T) {
	t.Parallel()
	r := newReadRig(t, readSettings)
	v := r.volume("/dev/sdf", dbTags("/mnt/a"))
	s := r.snapshot(v, time.Hour, dbTags("/mnt/a", labelled...))
	r.wants(0, []string{"check", "db", "--format", "nagios"}, `^SNAPTASTIC OK - 1 volume in use .* \| gaps=0;;0;0 'db /mnt/a'=36\d\ds;;93600;0$`)
	r.wants(0, []string{"check", "db", "--format", "prometheus"}, `^# TYPE snaptastic_volume_ok gauge$`, `^snaptastic_check_gaps 0$`, `^snaptastic_check_max_age_seconds 93600$`,
		`^snaptastic_mount_point_ok\{snapshotter="db",mount_point="/mnt/a"\} 1$`, `^snaptastic_volume_ok\{snapshotter="db",mount_point="/mnt/a",volume_id="`+v+`",instance_id="i-[0-9a-f]+"\} 1$`,
		`^snaptastic_volume_newest_snapshot_timestamp_seconds\{.*\} \d{10}$`)
	var told struct {
		OK       bool
		Gaps     int
		Findings []snapset.Finding
	}
	read := func(code int) {
		t.Helper()
		if err := json.Unmarshal([]byte(r.wants(code, []string{"check", "db", "-o", "json"})), &told); err != nil {
			t.Fatal(err)
		}
	}
	if read(0); !told.OK || told.Gaps != 0 || len(told.Findings) != 2 || told.Findings[1].SnapshotID != s || *told.Findings[1].AgeSeconds < 3600 {
		t.Errorf("JSON: %+v", told)
	}
	r.edit(s, func(s *sandbox.Snapshot) { s.Started = time.Now().Add(-27 * time.Hour) })
	if read(1); told.OK || told.Gaps != 2 || told.Findings[0].Problem == "" {
		t.Errorf("JSON of a gap: %+v", told)
	}
	r.wants(2, []string{"check", "db", "--format", "nagios"}, `^SNAPTASTIC CRITICAL - 2 gaps: db /mnt/a: its newest snapshot `+s+` is 27h(\d+s)? old .limit 26h. \| gaps=2;;0;0 'db /mnt/a'=972\d\ds;;93600;0$`)
	r.wants(1, []string{"check", "db", "--format", "prometheus"}, `^snaptastic_check_gaps 2$`, `^snaptastic_volume_ok\{.*\} 0$`)
	r.wants(3, []string{"check", "nope", "--format", "nagios"}, `^SNAPTASTIC UNKNOWN - no snapshotter named "nope"`, "!error:")
	for _, bad := range [][]string{{"--max-age", "26"}, {"--max-age", "0s"}, {"--max-age", "-1h"}, {"--format", "xml"}, {"--format", "nagios2"}, {"--format", "prometheus", "-o", "json"}, {"--role", "db"}} {
		r.wants(2, append([]string{"check", "db"}, bad...), "^error: ")
	}
}

// TestCheckWithoutEC2Fails: monitoring must never read a failure as well.
func TestCheckWithoutEC2Fails(t *testing.T) {
	r := newReadRig(t, readSettings, sandbox.Fault{Action: "DescribeSnapshots", Error: "UnauthorizedOperation"})
	r.volume("/dev/sdf", dbTags("/mnt/a"))
	r.wants(1, []string{"check", "db"}, "^error: cannot find snapshots", "allow ec2:DescribeSnapshots")
	r.wants(3, []string{"check", "db", "--format", "nagios"}, `^SNAPTASTIC UNKNOWN - cannot find snapshots: .*; allow ec2:DescribeSnapshots`)
	if out := r.wants(1, []string{"check", "db", "--format", "prometheus"}); strings.Contains(out, "snaptastic_") {
		t.Errorf("it has metrics all the same:\n%s", out)
	}
}

// TestCheckByTheOriginalsFlags needs no settings, and tells snapshotters apart
// by the original's tags.
func TestCheckByTheOriginalsFlags(t *testing.T) {
	r := newReadRig(t, readSettings)
	a := r.volume("/dev/sdf", dbTags("/mnt/a"))
	other := dbTags("/mnt/a", "cluster", "c2")
	b := r.volume("/dev/sdg", other)
	r.volume("/dev/sdh", map[string]string{"role": "db", "environment": "test", "cluster": "c1"}) // no mount point: not of Snaptastic
	r.snapshot(a, time.Hour, dbTags("/mnt/a"))
	r.wants(0, []string{"bare", "check-backups", "--environment", "test", "--cluster", "c1", "--role", "db"}, `cluster=c1 environment=test role=db`, "!"+b)
	r.wants(1, []string{"bare", "check-backups", "--role", "db"}, `^ok .*`+a, `cluster=c2 environment=test role=db /mnt/a `+b+` .*no snapshot exists`)
	r.snapshot(b, time.Hour, other)
	r.wants(0, []string{"bare", "check-backups", "--role", "db"}, "2 volumes in use")
	r.wants(1, []string{"bare", "check", "--role", "dv"}, "role=dv: no volume in use has these tags")
	r.wants(2, []string{"bare", "check"}, "^error: ")
}

// TestCheckGoesByEC2sClock: this machine's clock is an hour behind, so a
// snapshot seems younger than it is.
func TestCheckGoesByEC2sClock(t *testing.T) {
	r := newReadRig(t, readSettings, sandbox.Fault{Action: "Describe*", Skew: time.Hour})
	v := r.volume("/dev/sdf", dbTags("/mnt/a"))
	r.snapshot(v, 90*time.Minute, dbTags("/mnt/a", labelled...))
	r.wants(1, []string{"check", "db", "--max-age", "2h"}, `is (150m|2h30m\d*s?) old`, "clock differs from EC2's")
	r.wants(0, []string{"check", "db", "--max-age", "3h"})
}
