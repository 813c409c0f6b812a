package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// account is the real binary against an EC2 of files: no root and no devices are needed to delete things.
type account struct {
	t      *testing.T
	dir    string
	bin    string
	server *sandbox.Server
	client *ec2.Client
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{t: t, dir: t.TempDir()}
	a.bin = filepath.Join(a.dir, "snaptastic")
	if self, err := os.Executable(); err != nil {
		t.Fatal(err)
	} else if err := os.Symlink(self, a.bin); err != nil {
		t.Fatal(err)
	}
	var err error
	if a.server, err = sandbox.Serve(context.Background(), sandbox.Config{Dir: a.sandbox(), FilesOnly: true}, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.server.Close() })
	a.client = a.newClient()
	return a
}

func (a *account) sandbox() string { return filepath.Join(a.dir, "sandbox") }

func (a *account) command(args ...string) *exec.Cmd {
	cmd := exec.Command(a.bin, append([]string{"--state-dir", filepath.Join(a.dir, "state"), "--sandbox=" + a.sandbox(), "--endpoint-url", a.server.URL()}, args...)...)
	cmd.Env, cmd.Dir = append(os.Environ(), "TERM=dumb", "SNAPTASTIC_SETTINGS="), a.dir
	return cmd
}

// run runs the binary and wants this exit code; it returns all that it wrote.
func (a *account) run(want int, args ...string) string {
	a.t.Helper()
	out, err := a.command(args...).CombinedOutput()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		a.t.Fatal(err)
	}
	if got != want {
		a.t.Fatalf("snaptastic %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, want, tail(out))
	}
	return string(out)
}

// stdout runs the binary, which has to succeed, and returns what it wrote there.
func (a *account) stdout(args ...string) []byte {
	a.t.Helper()
	out, err := a.command(args...).Output()
	if err != nil {
		a.t.Fatalf("snaptastic %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// add records a snapshot of some age with these tags.
func (a *account) add(age time.Duration, tags map[string]string, edit ...func(*sandbox.Snapshot)) string {
	a.t.Helper()
	s := sandbox.Snapshot{Started: time.Now().Add(-age), Tags: sandbox.Tags{}}
	for key, value := range tags {
		if value == whenBegun {
			value = s.Started.UTC().Format(time.RFC3339)
		}
		s.Tags[key] = sandbox.TagValue{Value: value}
	}
	for _, f := range edit {
		f(&s)
	}
	id, err := a.server.Sandbox.AddSnapshot(s)
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

func (a *account) snapshots() []string {
	a.t.Helper()
	all, err := a.client.Snapshots(a.t.Context(), ec2.SnapshotQuery{})
	if err != nil {
		a.t.Fatal(err)
	}
	var ids []string
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	return ids
}

func (a *account) deletions() int {
	a.t.Helper()
	calls, err := sandbox.Log(a.sandbox())
	if err != nil {
		a.t.Fatal(err)
	}
	n := 0
	for _, c := range calls {
		if c.Params["DryRun"] != "true" && (strings.HasPrefix(c.Action, "Delete") || strings.HasPrefix(c.Action, "Deregister")) {
			n++
		}
	}
	return n
}

const oneDay = 24 * time.Hour

// whenBegun stands for the start of the snapshot that gets the tag.
const whenBegun = "when it was begun"

// ours are the tags of a labelled snapshot that expired (or will expire) so long ago.
func ours(mountPoint, run string, expiredFor time.Duration) map[string]string {
	return map[string]string{"role": "db", "mount_point": mountPoint, "instance_id": "i-1", "created": whenBegun,
		"expires": time.Now().Add(-expiredFor).UTC().Format(time.RFC3339), "snaptastic:token": "t" + run, "snaptastic:run": run,
		"snaptastic:members": "1", "snaptastic:state": "consistent"}
}

func with(tags map[string]string, keysAndValues ...string) map[string]string {
	tags = maps.Clone(tags)
	for i := 0; i < len(keysAndValues); i += 2 {
		if tags[keysAndValues[i]] = keysAndValues[i+1]; keysAndValues[i+1] == "" {
			delete(tags, keysAndValues[i])
		}
	}
	return tags
}

// thousand fills the account with 1,000 snapshots, and returns those that have to stay.
func (a *account) thousand() (stay []string) {
	a.t.Helper()
	keep := func(id string) string { stay = append(stay, id); return id }
	n := 0
	point := func() string { n++; return fmt.Sprintf("/m/%d", n%10) }
	// Nine mount points have a newest snapshot that has not expired; the newest of /m/9 has.
	for i := range 9 {
		keep(a.add(time.Hour, ours(fmt.Sprintf("/m/%d", i), fmt.Sprintf("new%d", i), -7*oneDay)))
	}
	keep(a.add(8*oneDay, ours("/m/9", "newest", oneDay)))
	// Three are held.
	for i, mode := range []string{"governance", "compliance"} {
		keep(a.add(20*oneDay, ours(point(), fmt.Sprint("locked", i), 10*oneDay), func(s *sandbox.Snapshot) {
			s.Lock = &sandbox.Lock{Mode: mode, Created: time.Now(), Expires: time.Now().Add(oneDay)}
		}))
	}
	held := keep(a.add(20*oneDay, ours(point(), "imaged", 10*oneDay)))
	if _, err := a.server.Sandbox.AddImage(sandbox.Image{Disks: []sandbox.ImageVolume{{Device: "/dev/xvda", SnapshotID: held, Size: 1}}}); err != nil {
		a.t.Fatal(err)
	}
	// These are none of our business, or not yet.
	old := ours(point(), "other", 10*oneDay)
	keep(a.add(20*oneDay, with(old, "snaptastic:state", "")))                                                                       // a backup tool copied a volume's tags
	keep(a.add(20*oneDay, old, func(s *sandbox.Snapshot) { s.VolumeID = "vol-ffffffff" }))                                          // CopySnapshot
	keep(a.add(20*oneDay, with(old, "expires", "next week")))                                                                       // unreadable
	keep(a.add(20*oneDay, with(old, "expires", "")))                                                                                // without a date
	keep(a.add(20*oneDay, with(old, "expires", time.Now().Add(-20*time.Hour).UTC().Format(time.DateTime))))                         // within the grace
	keep(a.add(20*oneDay, map[string]string{"Name": "somebody's"}))                                                                 // anybody's
	keep(a.add(time.Hour, map[string]string{"snaptastic:token": "u1", "snaptastic:run": "r-u1", "snaptastic:state": "unverified"})) // a run may still be at it
	// And these go, besides the many.
	a.add(2*oneDay, map[string]string{"snaptastic:token": "u2", "snaptastic:run": "r-u2", "snaptastic:state": "unverified"})
	began := time.Now().Add(-20 * oneDay)
	original := map[string]string{"role": "db", "mount_point": point() + "/", "instance_id": "i-0", "created": began.Format("2006-01-02 15:04:05.000000"), "expires": began.Add(7 * oneDay).Format("2006-01-02 15:04:05.000000")}
	a.add(20*oneDay, original)
	keep(a.add(20*oneDay, with(original, "created", began.Add(-5*oneDay).Format(time.DateTime)))) // the tags of a volume of the original's
	for i := len(a.snapshots()); i < 1000; i++ {
		a.add(time.Duration(9+i%30)*oneDay, ours(point(), fmt.Sprint("old", i), time.Duration(1+i%30)*oneDay+time.Hour))
	}
	slices.Sort(stay)
	return stay
}

func (a *account) exactly(want []string) {
	a.t.Helper()
	got := a.snapshots()
	for _, id := range want {
		if !slices.Contains(got, id) {
			a.t.Errorf("%s is gone and should be there", id)
		}
	}
	for _, id := range got {
		if !slices.Contains(want, id) {
			a.t.Errorf("%s is there and should be gone", id)
		}
	}
}

func TestCleanDeletesExactlyTheRightSnapshotsOfAThousand(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	stay := a.thousand()
	if out := a.run(0, "clean", "snapshots", "--dry-run"); !strings.Contains(out, fmt.Sprintf("%d snapshots (of %d GiB) to delete", 1000-len(stay), 1000-len(stay))) || a.deletions() > 0 {
		t.Fatalf("the dry run says:\n%s", tail([]byte(out)))
	}
	a.run(2, "clean", "snapshots") // nobody is there to be asked
	if a.deletions() > 0 {
		t.Fatal("it deleted unasked")
	}
	out := a.run(0, "clean", "snapshots", "--yes")
	for _, why := range []string{"it is locked (governance)", "it is locked (compliance)", "uses it", "the newest restorable snapshot of /m/9", `"next week" is not a date`, "left unverified by run r-u2"} {
		if !strings.Contains(out, why) {
			t.Errorf("it does not say %q", why)
		}
	}
	a.exactly(stay)
	if out := a.run(0, "clean", "snapshots", "--yes"); !strings.Contains(out, "nothing to clean up") {
		t.Errorf("the second time: %s", tail([]byte(out)))
	}
	if n := a.deletions(); n != 1000-len(stay) {
		t.Errorf("%d calls to delete %d snapshots", n, 1000-len(stay))
	}
}

func TestACleanUpThatWasKilledIsFinishedByResume(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("resume needs root")
	}
	a := newAccount(t)
	stay := a.thousand()
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{Request: 5 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	run := ""
	for kills := 0; ; kills++ {
		before := a.deletions()
		args := []string{"clean", "snapshots", "--yes", "--log-level=off"}
		if run != "" {
			if out := a.run(1, "rollback", run); !strings.Contains(out, "cannot be recovered") {
				t.Fatalf("rollback of it says %s", out)
			}
			a.run(0, "resume") // touches no clean-up
			if a.deletions() != before {
				t.Fatal("a resume that does not name it went on with a clean-up")
			}
			args = []string{"resume", run, "--log-level=off"}
		}
		if kills == 3 {
			a.run(0, args...)
			break
		}
		cmd := a.command(args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for a.deletions() < before+100 {
			time.Sleep(10 * time.Millisecond) // the real process, in real time
		}
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		var runs []struct{ Run, Operation string }
		if err := json.Unmarshal([]byte(a.run(0, "runs", "-o", "json")), &runs); err != nil || len(runs) != 1 || runs[0].Operation != "clean snapshots" {
			t.Fatalf("runs: %+v %v", runs, err)
		}
		run = runs[0].Run
	}
	a.exactly(stay)
	if out := a.run(1, "rollback", run); !strings.Contains(out, "has already ended") {
		t.Errorf("rollback of it says %s", out)
	}
}

func TestAWrongClockStopsACleanUp(t *testing.T) {
	a := newAccount(t)
	a.add(20*oneDay, ours("/m", "old", oneDay))
	a.add(time.Hour, ours("/m", "new", -oneDay))
	for _, skew := range []time.Duration{4 * time.Minute, -4 * time.Minute, 2 * time.Minute} {
		if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}, sandbox.Fault{Skew: skew}); err != nil {
			t.Fatal(err)
		}
		want := 1
		if skew.Abs() < 3*time.Minute {
			want = 0
		}
		out := a.run(want, "clean", "all", "--yes")
		if stopped := a.deletions() == 0; stopped != (want == 1) || stopped && !strings.Contains(out, "clock is 4 min") {
			t.Errorf("at %s: %s", skew, out)
		}
	}
}

func TestARefusalDoesNotStopACleanUp(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	var ids []string
	for i := range 20 {
		ids = append(ids, a.add(time.Duration(10+i)*oneDay, ours("/m", strconv.Itoa(i), oneDay)))
	}
	newest := a.add(time.Hour, ours("/m", "new", -oneDay))
	faults := []sandbox.Fault{
		{Action: "DeleteSnapshot", Params: map[string]string{"SnapshotId": ids[3], "DryRun": ""}, Error: "SnapshotLocked"},
		{Action: "DeleteSnapshot", Params: map[string]string{"SnapshotId": ids[7]}, Reset: "after"},
		{Action: "DeleteSnapshot", Every: 4, Error: "RequestLimitExceeded"},
	}
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}, faults...); err != nil {
		t.Fatal(err)
	}
	out := a.run(3, "clean", "snapshots", "--yes")
	if !strings.Contains(out, "19 deleted, 1 refused") || !strings.Contains(out, ids[3]) || !strings.Contains(out, "SnapshotLocked") {
		t.Errorf("it says:\n%s", tail([]byte(out)))
	}
	want := []string{ids[3], newest}
	a.exactly(want)
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}, sandbox.Fault{Action: "DeleteSnapshot", Error: "UnauthorizedOperation"}); err != nil {
		t.Fatal(err)
	}
	if out := a.run(0, "status", "-o", "json"); !strings.Contains(out, "failed") {
		t.Errorf("status does not show what was refused: %s", out)
	}
	before := a.deletions()
	if out := a.run(1, "clean", "snapshots", "--yes"); !strings.Contains(out, "allow ec2:DeleteSnapshot") || a.deletions() != before {
		t.Errorf("without the permission: %s", out)
	}
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}); err != nil {
		t.Fatal(err)
	}
	a.run(0, "clean", "snapshots", "--yes") // the older run is not left behind as failed for ever
	a.exactly([]string{newest})
	if out := a.run(0, "status", "-o", "json"); strings.Contains(out, "failed") {
		t.Errorf("status still shows it: %s", out)
	}
}
