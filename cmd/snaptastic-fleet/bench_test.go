package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic-fleet/flow"
)

// bare is set where this test binary is a process that does nothing but wait for an instant, for comparison: it has the instant, the
// end of the hold, and a directory to freeze; "-" for none.
const bare = "SNAPTASTIC_TEST_BARE"

const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// waitBare tells the time at which it woke, or at which the file system was frozen.
func waitBare(how string) int {
	var from, until int64
	var dir string
	if _, err := fmt.Sscan(how, &from, &until, &dir); err != nil {
		return 1
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP) // what is frozen is thawed
	fd := -1
	if dir != "-" {
		var err error
		if fd, err = unix.Open(dir, unix.O_DIRECTORY, 0); err != nil {
			return 1
		}
	}
	at := unix.NsecToTimespec(from)
	_ = unix.ClockNanosleep(unix.CLOCK_REALTIME, unix.TIMER_ABSTIME, &at, nil)
	if fd >= 0 {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fiFreeze, 0); errno != 0 {
			return 1
		}
	}
	now := time.Now().UnixNano()
	if fd >= 0 {
		time.Sleep(time.Until(time.Unix(0, until)))
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fiThaw, 0)
	}
	fmt.Println(now)
	return 0
}

// bareSkew starts a bare process for each directory, and returns the time between the first and the last of them.
func bareSkew(b *testing.B, dirs []string) time.Duration {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now().Add(5 * time.Second)
	var all []*exec.Cmd
	var outs []*strings.Builder
	for _, dir := range dirs {
		c, out := exec.Command(self), &strings.Builder{}
		c.Env, c.Stdout = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", bare, at.UnixNano(), at.Add(3*time.Second).UnixNano(), dir)), out
		if err := c.Start(); err != nil {
			b.Error(err)
			break
		}
		all, outs = append(all, c), append(outs, out)
	}
	var first, last int64
	for i, c := range all {
		if err := c.Wait(); err != nil {
			b.Errorf("bare process: %v", err)
			continue
		}
		var n int64
		_, _ = fmt.Sscan(outs[i].String(), &n)
		if first == 0 || n < first {
			first = n
		}
		last = max(last, n)
	}
	return time.Duration(last - first)
}

// BenchmarkSkew measures how far apart the freezes of many hosts are, which SNAPTASTIC_FLEET_HOSTS says (default 10), all on this
// machine. The same is measured of bare processes, which wake at one instant, or freeze the same file systems then: less than these
// is not to be had here.
func BenchmarkSkew(b *testing.B) {
	n := number("SNAPTASTIC_FLEET_HOSTS", 10)
	// The machine has to start all of these programs before the instant; a fleet's host starts one.
	lead := max(20*time.Second, time.Duration(n)*1500*time.Millisecond)
	r := newRig(b, n, func(r *rig) { r.lead, r.hold = lead.String(), "3s" })
	r.mountAll(b)
	var none, mounts []string
	for _, name := range sortedNames(r.hosts) {
		none, mounts = append(none, "-"), append(mounts, r.hosts[name].mount)
	}
	for range b.N {
		woken, frozen := bareSkew(b, none), bareSkew(b, mounts)
		got := r.measured(b)
		b.ReportMetric(got.Instant.SkewSeconds*1000, "ms-skew")
		b.ReportMetric(ms(woken), "ms-bare-wake")
		b.ReportMetric(ms(frozen), "ms-bare-freeze")
		fmt.Printf("%d hosts: skew %.1f ms, overlap %.1f ms; bare processes wake within %.1f ms and freeze within %.1f ms\n",
			n, got.Instant.SkewSeconds*1000, got.Instant.OverlapSeconds*1000, ms(woken), ms(frozen))
	}
}

// measured takes a snapshot of all hosts. A busy machine may not be in time for it, and then it is taken again.
func (r *rig) measured(b *testing.B) (got flow.SnapshotResult) {
	b.Helper()
	var err error
	for range 5 {
		got = flow.SnapshotResult{}
		if err = r.fleet(&got, "snapshot", "shards"); err == nil {
			return got
		}
	}
	b.Fatal(err)
	return got
}

func (r *rig) mountAll(b *testing.B) {
	var ready sync.WaitGroup
	slots := make(chan struct{}, 2)
	for _, name := range sortedNames(r.hosts) {
		ready.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if _, err := r.snaptastic(r.hosts[name], "run", "mount", "db"); err != nil {
				b.Error(err)
			}
		})
	}
	ready.Wait()
}

// BenchmarkFreezeOfAHost measures how long a host of a fleet is frozen, against the same host's own snapshots, one after the other: one with the
// same hold, and one without. Most of it is the hold; so what freeze and thaw themselves take, and the call to EC2, which is made during the hold, are
// compared by themselves.
func BenchmarkFreezeOfAHost(b *testing.B) {
	const hold = time.Second
	r := newRig(b, 3)
	r.mountAll(b)
	h1 := r.hosts["h1"]
	var fleet, local, plain still
	for i := range b.N {
		got := r.measured(b)
		inFleet := stillOf(b, r.must(h1, "show", got.Hosts[0].Run, "-o", "json"))
		at := time.Now().Add(12 * time.Second).UTC()
		alone := r.ownSnapshot(b, h1, "--trust-clock", "--key", fmt.Sprint("local/", i), "--set", fmt.Sprint("local-", i), "--members", "1", "--defer-label",
			"--at", at.Format(time.RFC3339Nano), "--hold-until", at.Add(hold).Format(time.RFC3339Nano))
		bare := r.ownSnapshot(b, h1)
		fmt.Printf("frozen for %.1f ms in the fleet, %.1f ms alone with the same hold, %.1f ms alone without; freeze and thaw take %.1f, %.1f and %.1f ms, the call %.1f, %.1f and %.1f ms\n",
			inFleet.frozen, alone.frozen, bare.frozen, inFleet.itself, alone.itself, bare.itself, inFleet.call, alone.call, bare.call)
		fleet, local, plain = fleet.plus(inFleet), local.plus(alone), plain.plus(bare)
	}
	n, held := float64(b.N), float64(b.N)*ms(hold)
	b.ReportMetric(fleet.frozen/local.frozen, "fleet/local")
	b.ReportMetric((fleet.itself+fleet.call)/(local.itself+local.call), "fleet/local-without-hold")
	b.ReportMetric((fleet.itself+fleet.call)/n, "ms-without-hold")
	b.ReportMetric(fleet.frozen/(1.2*plain.frozen+held), "of-the-limit")
	b.ReportMetric(fleet.frozen/n, "ms-frozen")
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// still is how long a host was frozen, and what freeze and thaw themselves and the call took of it, in milliseconds.
type still struct{ frozen, itself, call float64 }

func (s still) plus(o still) still {
	return still{s.frozen + o.frozen, s.itself + o.itself, s.call + o.call}
}

// ownSnapshot is one that a host takes by itself.
func (r *rig) ownSnapshot(b *testing.B, h *testHost, flags ...string) still {
	b.Helper()
	var run struct {
		Run string `json:"run"`
	}
	if err := json.Unmarshal([]byte(r.must(h, append([]string{"run", "snapshot", "db", "--yes", "-o", "json"}, flags...)...)), &run); err != nil {
		b.Fatal(err)
	}
	return stillOf(b, r.must(h, "show", run.Run, "-o", "json"))
}

var inJSON = regexp.MustCompile(`"(frozen_seconds|frozen_at|thawed_at)": *"?([^",\s]+)`)

// stillOf reads the details of a run of one volume.
func stillOf(b *testing.B, text string) still {
	b.Helper()
	var run struct {
		Steps []struct {
			ID      string  `json:"id"`
			Seconds float64 `json:"seconds"`
		} `json:"steps"`
	}
	if err := json.Unmarshal([]byte(text), &run); err != nil {
		b.Fatal(err)
	}
	is := map[string]string{}
	for _, m := range inJSON.FindAllStringSubmatch(text, -1) {
		is[m[1]] = m[2]
	}
	frozen, err := strconv.ParseFloat(is["frozen_seconds"], 64)
	from, bad := time.Parse(time.RFC3339Nano, is["frozen_at"])    // FIFREEZE has returned
	until, worse := time.Parse(time.RFC3339Nano, is["thawed_at"]) // FITHAW is called
	if err := errors.Join(err, bad, worse); err != nil {
		b.Fatalf("no freeze in %s: %v", text, err)
	}
	s := still{frozen: frozen * 1000, itself: frozen*1000 - ms(until.Sub(from))}
	for _, step := range run.Steps {
		if step.ID == "snapshot" {
			s.call = step.Seconds * 1000
		}
	}
	return s
}
