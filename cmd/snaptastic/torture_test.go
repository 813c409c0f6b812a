package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/linux/guard"
)

// rig is the real binary against a `sandbox serve` process that survives it,
// on real loop devices and file systems.
type rig struct {
	t        *testing.T
	bin      string
	dir      string
	env      []string
	url      string
	client   *ec2.Client
	settings string
	mounts   []string
	server   *exec.Cmd
	lag      time.Duration // of the sandbox's describes
	in       sandbox.World // where command runs the program; the zero value: the default world
}

// instanceIn is the same rig on the instance of another account or region, with a state of its own.
func (r *rig) instanceIn(in sandbox.World) *rig {
	there := *r
	there.in, there.client = in, r.clientIn(in)
	return &there
}

// needRig skips, with the reason, where the real thing cannot run.
func needRig(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts and loop devices")
	}
	if err := sandbox.Missing(); err != nil {
		t.Skipf("the sandbox cannot make loop devices here: %v", err)
	}
}

func newRig(t *testing.T, volumes int, fs string, serve ...string) *rig {
	t.Helper()
	needRig(t)
	dir, err := os.MkdirTemp("/var/tmp", "snaptastic-rig-")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, bin: filepath.Join(dir, "snaptastic"), settings: filepath.Join(dir, "snaptastic.hcl")}
	t.Cleanup(r.clean)
	// The test binary is the program: TestMain runs it under this name.
	if self, err := os.Executable(); err != nil {
		t.Fatal(err)
	} else if err := os.Symlink(self, r.bin); err != nil {
		t.Fatal(err)
	}
	var hcl strings.Builder
	hcl.WriteString("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n")
	for i := range volumes {
		m := filepath.Join(dir, "mnt", string(rune('a'+i)))
		r.mounts = append(r.mounts, m)
		fmt.Fprintf(&hcl, "  volume \"/dev/sd%c\" {\n    mount_point = %q\n    size = 1\n    file_system = %q\n  }\n", 'f'+i, m, fs)
	}
	hcl.WriteString("}\n")
	if err := os.WriteFile(r.settings, []byte(hcl.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r.serve(serve...)
	return r
}

func (r *rig) sandboxDir() string { return filepath.Join(r.dir, "sandbox") }
func (r *rig) state() string      { return filepath.Join(r.dir, "state") }

// serve starts the sandbox's process and points everything at it.
func (r *rig) serve(args ...string) {
	r.t.Helper()
	cmd := exec.Command(r.bin, append([]string{"sandbox", "serve", "--sandbox=" + r.sandboxDir()}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.server = cmd
	var text []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(text), "AWS_ENDPOINT_URL=") || !bytes.HasSuffix(text, []byte("\n")) {
		n, err := out.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			r.t.Fatalf("sandbox serve: %v: %s", err, stderr.String())
		}
	}
	url := ""
	for _, line := range strings.Split(string(text), "\n") {
		if v, ok := strings.CutPrefix(line, "export AWS_ENDPOINT_URL="); ok {
			url = strings.Trim(v, "'\"")
		}
	}
	r.env = append(os.Environ(), "SNAPTASTIC_SETTLE=1s", "SNAPTASTIC_LAG=500ms", "SNAPTASTIC_APPEAR=5s", "TERM=dumb")
	r.client, err = ec2.New(context.Background(), ec2.Config{Region: sandbox.Region, EndpointURL: url, MetadataURL: url, Credentials: ec2.Credentials{ID: "a", Secret: "b"}, PollMin: 10 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	r.url = url
}

// lags has the program wait for an EC2 that lags as it does on EC2: what is deleted at once is waited for as well.
func (r *rig) lags() { r.env = append(r.env, "SNAPTASTIC_LAG=15s", "SNAPTASTIC_APPEAR=30s") }

// command is the binary with the rig's flags.
func (r *rig) command(args ...string) *exec.Cmd {
	if r.in != (sandbox.World{}) {
		return r.elsewhereCommand(r.in, args...) // its metadata has no address: the sandbox is in the process
	}
	cmd := exec.Command(r.bin, append([]string{"--settings", r.settings, "--state-dir", r.state(), "--sandbox=" + r.sandboxDir(), "--endpoint-url", r.url, "--yes"}, args...)...)
	cmd.Env = r.env
	return cmd
}

// run runs the binary to its end and returns its exit code.
func (r *rig) run(args ...string) (int, string) {
	r.t.Helper()
	out, err := r.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatalf("snaptastic %s: %v", strings.Join(args, " "), err)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// must runs the binary and wants it to succeed.
func (r *rig) must(args ...string) string {
	r.t.Helper()
	code, out := r.run(args...)
	if code != 0 {
		r.t.Fatalf("snaptastic %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// killed starts the binary and kills it after d, unless it ended before.
func (r *rig) killed(d time.Duration, args ...string) bool {
	r.t.Helper()
	cmd := r.command(args...)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { _ = cmd.Wait(); close(over) }()
	select {
	case <-over:
		return false
	case <-time.After(d):
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-over
		return true
	}
}

// clean removes what the rig made, thawing first whatever a failed test left.
func (r *rig) clean() {
	for _, m := range r.mounts {
		_ = guard.ThawMount(m)
	}
	if r.server != nil {
		_ = r.server.Process.Signal(syscall.SIGTERM)
		_ = r.server.Wait()
	}
	if err := sandbox.Reset(r.sandboxDir()); err != nil {
		r.t.Errorf("cannot reset the sandbox: %v", err)
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.t.Error(err)
	}
}

// writable checks that a file system is not frozen, by writing to it from a
// process that is thawed free after a while.
func (r *rig) writable(m string) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(m, "probe"), []byte("x"), 0o600) }()
	select {
	case err := <-done:
		if err != nil {
			r.t.Errorf("cannot write to %s: %v", m, err)
		}
	case <-time.After(15 * time.Second):
		r.t.Errorf("%s is frozen", m)
		_ = guard.ThawMount(m)
		<-done
	}
}

func (r *rig) mounted() []string {
	r.t.Helper()
	all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(filepath.Join(r.dir, "mnt")))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, m := range all {
		out = append(out, m.Mountpoint)
	}
	return out
}

// runs lists what `runs -o json` says of unfinished runs.
func (r *rig) unfinished() []string {
	r.t.Helper()
	code, out := r.run("--log-level", "off", "runs", "-o", "json")
	if code != 0 {
		r.t.Fatalf("runs: exit %d: %s", code, out)
	}
	var rows []struct {
		Run, Outcome, State string
	}
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		r.t.Fatalf("runs: %v: %s", err, out)
	}
	var ids []string
	for _, x := range rows {
		if x.Outcome == "" || x.Outcome == "interrupted" || x.Outcome == "failed" {
			ids = append(ids, x.Run)
		}
	}
	return ids
}

// check holds the world against what must be true between any two commands.
func (r *rig) check(mounted bool) {
	r.t.Helper()
	time.Sleep(r.lag) // what EC2 has been told shows
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil {
		r.t.Fatal(err)
	}
	want := 0
	if mounted {
		want = len(r.mounts)
	}
	if got := r.mounted(); len(got) != want {
		r.t.Errorf("mounted are %v, want %d", got, want)
	}
	attached := map[string]int{}
	for _, v := range vs {
		if v.State == "in-use" {
			attached[v.Tags["mount_point"]]++
		} else if v.Tags["snaptastic:detached"] == "" {
			r.t.Errorf("volume %s of run %s is left %s: nobody accounts for it", v.ID, v.Tags["snaptastic:run"], v.State)
		}
	}
	for _, m := range r.mounts {
		if n := attached[m]; n != want/len(r.mounts) {
			r.t.Errorf("%d volumes are attached for %s", n, m)
		}
	}
	snaps, err := r.client.Snapshots(context.Background(), ec2.SnapshotQuery{})
	if err != nil {
		r.t.Fatal(err)
	}
	if slices.ContainsFunc(snaps, func(s ec2.Snapshot) bool { return s.Tags["snaptastic:state"] == "deleting" }) {
		r.must("clean", "snapshots", "db") // a cleanup was cut off and its run rolled back: the next one deletes the rest
		time.Sleep(r.lag)
		if snaps, err = r.client.Snapshots(context.Background(), ec2.SnapshotQuery{}); err != nil {
			r.t.Fatal(err)
		}
	}
	sets := map[string]int{}
	for _, s := range snaps {
		if s.Tags["snaptastic:state"] != "consistent" {
			r.t.Errorf("snapshot %s of run %s is left %q", s.ID, s.Tags["snaptastic:run"], s.Tags["snaptastic:state"])
		}
		sets[s.Tags["snaptastic:run"]]++
	}
	for run, n := range sets {
		if n != len(r.mounts) {
			r.t.Errorf("the set of run %s has %d members", run, n)
		}
	}
	if left := r.unfinished(); len(left) > 0 {
		r.t.Errorf("unfinished runs: %v", left)
	}
	if mounted {
		for _, m := range r.mounts {
			r.writable(m)
			if b, err := os.ReadFile(filepath.Join(m, "precious")); err != nil || string(b) != m {
				r.t.Errorf("%s lost its data: %q, %v", m, b, err)
			}
		}
	}
}

// tortureSeed tells the moments of the kills: SNAPTASTIC_SEED gives other ones.
func tortureSeed(more uint64) *rand.Rand {
	n, _ := strconv.ParseUint(os.Getenv("SNAPTASTIC_SEED"), 10, 64)
	return rand.New(rand.NewPCG(20260103+n, more))
}

// tortureKills is how many kills SNAPTASTIC_TORTURE asks for, or those of the short form, which is heavy; -short leaves them all out.
func tortureKills(t *testing.T, short int) int {
	t.Helper()
	if testing.Short() {
		t.Skip("short")
	}
	if n, err := strconv.Atoi(os.Getenv("SNAPTASTIC_TORTURE")); err == nil {
		return n
	}
	heavy(t)
	return short
}

// TestTorture kills the binary at random moments, over and over, on the same
// machine, and checks it after each recovery. SNAPTASTIC_TORTURE sets how many
// kills; without it a short form runs.
func TestTorture(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 8)
	for _, tt := range []struct {
		name   string
		kills  int
		faults []sandbox.Fault
		lat    sandbox.Latency
	}{
		{name: "kills", kills: kills},
		{name: "kills and faults", kills: kills / 2, lat: sandbox.Latency{Lag: 200 * time.Millisecond},
			faults: []sandbox.Fault{
				{Error: "RequestLimitExceeded", Probability: 0.05, Seed: 1},
				{Action: "Create*", Reset: "after", Probability: 0.05, Seed: 2},
				{Action: "*Volume", Reset: "after", Probability: 0.05, Seed: 3},
				{Action: "Describe*", Error: "InternalError", Probability: 0.03, Seed: 4},
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, 2, "ext4", "--create-time=30ms", "--attach-time=30ms", "--detach-time=20ms", "--snapshot-time=50ms", "--latency=3ms")
			if err := sandbox.SetFaults(r.sandboxDir(), tt.lat, tt.faults...); err != nil {
				t.Fatal(err)
			}
			if r.lag = tt.lat.Lag + tt.lat.Lag/4; r.lag > 0 {
				r.lags()
			}
			r.torture(tt.kills, rand.New(rand.NewPCG(20260101, uint64(len(tt.name)))))
		})
	}
}

func (r *rig) torture(kills int, rng *rand.Rand) {
	text, err := os.ReadFile(r.settings)
	if err == nil {
		keep := "  keep {\n    last = 2\n  }\n}\n"
		err = os.WriteFile(r.settings, append(bytes.TrimSuffix(text, []byte("}\n")), keep...), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.must("run", "mount", "db")
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "precious"), []byte(m), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.must("run", "snapshot", "db")
	mounted, hits := true, 0
	for hits < kills && !r.t.Failed() {
		op := "mount"
		if mounted {
			op = []string{"snapshot", "snapshot", "unmount", "restore", "restore"}[rng.IntN(5)]
		}
		args := []string{"run", op, "db"}
		if op == "snapshot" && rng.IntN(2) == 0 {
			args = append(args, "--clean")
		}
		if !r.killed(time.Duration(rng.IntN(700))*time.Millisecond, args...) {
			if left := r.unfinished(); len(left) == 0 {
				mounted = settledAs(op, mounted)
				continue
			}
		}
		hits++
		mounted = r.recover(op, mounted, rng, &hits)
		r.check(mounted)
		r.deleteDetached()
		if r.t.Failed() {
			r.t.Logf("after kill %d, in %s", hits, op)
		}
	}
	r.t.Logf("%d kills", hits)
}

func settledAs(op string, mounted bool) bool {
	switch op {
	case "mount":
		return true
	case "unmount":
		return false
	}
	return mounted
}

// recover finishes or undoes what the kill left, itself killed now and then.
func (r *rig) recover(op string, mounted bool, rng *rand.Rand, hits *int) bool {
	r.t.Helper()
	r.must("thaw", "--owned")
	left := r.unfinished()
	if len(left) == 0 { // it died before its journal, or after its end
		return len(r.mounted()) > 0
	}
	if len(left) > 1 {
		r.t.Fatalf("several unfinished runs: %v", left)
	}
	how := "resume"
	if rng.IntN(3) == 0 {
		how = "rollback"
	}
	for rng.IntN(3) == 0 {
		if r.killed(time.Duration(rng.IntN(500))*time.Millisecond, how, left[0]) {
			*hits++
		}
		if len(r.unfinished()) == 0 {
			break
		}
	}
	for try := 0; len(r.unfinished()) > 0; try++ {
		if try > 5 {
			r.t.Fatalf("run %s does not end", left[0])
		}
		if code, out := r.run(how, left[0]); code != 0 {
			r.t.Logf("%s %s: exit %d\n%s", how, left[0], code, out)
		}
	}
	if how == "resume" {
		return settledAs(op, mounted)
	}
	return mounted
}

// deleteDetached loses the volumes that unmounts and rolled back mounts left.
func (r *rig) deleteDetached() {
	r.t.Helper()
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range vs {
		if v.State == "available" {
			if err := r.client.DeleteVolume(context.Background(), v.ID); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}
