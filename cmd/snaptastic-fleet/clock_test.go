package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
	"snaptastic-fleet/host"
)

// wrongly is set where this test binary stands in for snaptastic on a host whose clock is wrong. It has the program's path, by how much
// the clock is ahead, and how wrong the kernel says that it may be.
const wrongly = "SNAPTASTIC_TEST_WRONG_CLOCK"

func TestMain(m *testing.M) {
	if how := os.Getenv(wrongly); how != "" {
		os.Exit(withWrongClock(how, os.Args[1:]))
	}
	if how := os.Getenv(bare); how != "" {
		os.Exit(waitBare(how))
	}
	code := m.Run()
	for _, dir := range builds {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var timeInJSON = regexp.MustCompile(`"20\d\d-\d\d-\d\dT[0-9:.]+Z"`)

// withWrongClock runs the program as it would run on a host whose clock is ahead: what happens at an instant of that clock happens
// earlier, and all times that it tells are later than they were.
func withWrongClock(how string, args []string) int {
	var program string
	var ahead, bound time.Duration
	if _, err := fmt.Sscan(how, &program, (*durationText)(&ahead), (*durationText)(&bound)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", how, err)
		return 1
	}
	for _, flag := range []string{"--at", "--hold-until"} {
		if i := slices.Index(args, flag); i >= 0 {
			at, _ := time.Parse(time.RFC3339Nano, args[i+1])
			args[i+1] = at.Add(-ahead).Format(time.RFC3339Nano)
		}
	}
	c := exec.Command(program, args...)
	c.Stderr = os.Stderr
	if i := slices.Index(args, "--events"); i >= 0 {
		c.ExtraFiles = []*os.File{os.NewFile(3, "events")}
	}
	out, err := c.Output()
	out = timeInJSON.ReplaceAllFunc(out, func(b []byte) []byte {
		at, err := time.Parse(time.RFC3339Nano, strings.Trim(string(b), `"`))
		if err != nil {
			return b
		}
		b, _ = json.Marshal(at.Add(ahead))
		return b
	})
	out = regexp.MustCompile(`"synchronized": false,\s*"error_seconds": [0-9.]+`).ReplaceAll(out, fmt.Appendf(nil, `"synchronized": true, "error_seconds": %f`, bound.Seconds()))
	_, _ = os.Stdout.Write(out)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

type durationText time.Duration

func (d *durationText) Scan(s fmt.ScanState, _ rune) error {
	word, err := s.Token(true, nil)
	if err != nil {
		return err
	}
	v, err := time.ParseDuration(string(word))
	*d = durationText(v)
	return err
}

// A wrongHost is a worker in this process, with a clock and a program whose clock can be wrong.
type wrongHost struct {
	ahead atomic.Int64
}

func (r *rig) wrongHost(h *testHost) *wrongHost {
	r.t.Helper()
	h.worker.kill()
	wrong := &wrongHost{}
	script := r.dir + "/" + h.name + "/snaptastic"
	_, via := newWire(r.t, r.address())
	c, err := client.Dial(client.Options{HostPort: via, Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	w := worker.New(c, flow.HostQueue(h.name), worker.Options{})
	registerHost(w, &host.Worker{
		Name: h.name, Program: host.Program{Path: script, Args: h.flags(r)},
		Config: config.Worker{Allow: []string{"snapshot db"}, TrustClock: true},
		Now:    func() time.Time { return time.Now().Add(time.Duration(wrong.ahead.Load())) },
	})
	if err := w.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(w.Stop)
	return wrong
}

// is sets the clock of the worker and that of its program.
func (w *wrongHost) is(r *rig, h *testHost, workers, programs_, bound time.Duration) {
	r.t.Helper()
	w.ahead.Store(int64(workers))
	bin, _ := programs()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	script := r.write(h.name+"/snaptastic", fmt.Sprintf("#!/bin/sh\n%s='%s %s %s' exec %s \"$@\"\n", wrongly, bin.snaptastic, programs_, bound, self))
	if err := os.Chmod(script, 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// Three hosts, real processes, and one clock of which the kernel says that it is right: it is not. What it says afterwards looks well,
// for it has its own time; that it is wrong shows in when its messages come.
func TestAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, func(r *rig) { r.hold = "2s" }) // the default
	var hosts []*testHost
	for _, n := range sortedNames(r.hosts) {
		hosts = append(hosts, r.hosts[n])
		r.must(r.hosts[n], "run", "mount", "db")
	}
	h3 := r.hosts["h3"]
	wrong := r.wrongHost(h3)
	const off = 4 * time.Second // more than what messages take on a busy machine
	const hold = 2 * time.Second
	for _, c := range []struct {
		name                    string
		workers, program, bound time.Duration
		while                   func() // armed
		want                    string
	}{
		{"right", 0, 0, 0, nil, ""},
		{"80 ms ahead", 80 * time.Millisecond, 80 * time.Millisecond, 0, nil, ""},
		{"80 ms behind", -80 * time.Millisecond, -80 * time.Millisecond, 0, nil, ""},
		{"ahead", off, off, 0, nil, "nothing was frozen: the clock of h3 is at least"},
		{"behind", -off, -off, 0, nil, "ahead of that of h3"},
		{"ahead by hold", hold, hold, 0, nil, "the clock of h3 is at least"},
		{"behind by hold", -hold, -hold, 0, nil, "ahead of that of h3"},
		{"set while armed", 0, off, 0, func() { r.armed(h3); wrong.ahead.Store(int64(off)) }, "no proof of an instant at which all hosts were frozen: the clock of h3"},
		{"it may be wrong by 2 s, and says so", 0, 0, 2 * time.Second, nil, "no instant at which all hosts were frozen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.workers != 0 && c.workers.Abs() != hold {
				t.Skip("a clock that is wrong by hold stands for it")
			}
			wrong.is(r, h3, c.workers, c.program, c.bound)
			for try := 1; ; try++ {
				g := r.withLoad(t, hosts, c.while)
				// Messages that take as long as the clock is off hide it: a machine with much to do is asked again.
				if hidden := g.err == nil && c.workers.Abs() == hold; !hidden || try == 4 {
					if (g.err == nil) != (c.want == "") || g.err != nil && !strings.Contains(g.err.Error(), c.want) {
						t.Errorf("%v, want %q", g.err, c.want)
					}
					break
				}
			}
			r.saveHistory("snapshot with a clock "+c.name, flowID("snapshot", "shards"))
		})
	}
}

// withLoad takes a snapshot of hosts that are written to, and wants it whole and labelled, or gone.
func (r *rig) withLoad(t *testing.T, hosts []*testHost, while func()) asked {
	t.Helper()
	before := r.labelledSnapshots()
	l := startLoad(t, hosts...)
	got := make(chan asked, 1)
	go func() { got <- r.soon(t, "") }()
	if while != nil {
		while()
	}
	g := <-got
	l.end()
	t.Logf("%v %+v", g.err, g.Instant)
	more := 0
	if g.err == nil {
		more = len(hosts)
	}
	if n := r.labelledSnapshots(); n != before+more {
		t.Errorf("%d labelled snapshots, and there were %d", n, before)
	}
	if n := r.snapshotFiles(); n != before+more {
		t.Errorf("the account has %d snapshots, and %d are labelled", n, before+more)
	}
	if l.longest > 10*time.Second+slack { // max_hold
		t.Errorf("a write took %s", l.longest)
	}
	r.nothingFrozen(t)
	return g
}
