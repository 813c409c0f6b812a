package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snaptastic-fleet/flow"
)

// What can fail in a fleet's snapshot, each with real processes. Whatever it is: nothing stays frozen, there is a whole
// labelled set or none, and no snapshot is left that nobody labels.
func TestWhateverFailsThereIsAWholeSetOrNone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	r := newRig(t, 3)
	h1 := r.hosts["h1"]
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	const (
		labelled = 1 << iota
		undone
		either = labelled | undone
	)
	for _, c := range []struct {
		name string
		want int
		do   func(t *testing.T)
	}{
		{"nothing", labelled, func(*testing.T) {}},
		{"the worker is killed while armed, and started again", labelled, func(t *testing.T) {
			r.armed(h1)
			h1.worker.kill()
			h1.worker = r.startWorker(h1)
		}},
		{"the worker is killed in the window, and started again", labelled, func(t *testing.T) {
			at, _ := r.armed(h1)
			time.Sleep(time.Until(at) + 300*time.Millisecond)
			h1.worker.kill()
			h1.worker = r.startWorker(h1)
		}},
		{"the worker is killed after the effect, before it has told it", labelled, func(t *testing.T) {
			r.armed(h1)
			h1.worker.signal(syscall.SIGSTOP)
			r.eventually("the snapshot ends", func() bool { return r.armedProcess(h1) == 0 })
			h1.worker.kill()
			h1.worker = r.startWorker(h1)
		}},
		{"snaptastic is killed in the window", undone, func(t *testing.T) {
			at, _ := r.armed(h1)
			time.Sleep(time.Until(at) + 200*time.Millisecond)
			_ = syscall.Kill(r.armedProcess(h1), syscall.SIGKILL)
		}},
		{"snaptastic is stopped across the instant", undone, func(t *testing.T) {
			at, _ := r.armed(h1)
			time.Sleep(time.Until(at) - 2*time.Second) // it waits, and holds nothing that others wait for
			pid := r.armedProcess(h1)
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			time.Sleep(time.Until(at) + time.Second)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}},
		{"the host is lost after the order", undone, func(t *testing.T) {
			r.armed(h1)
			h1.worker.kill()
			_ = syscall.Kill(r.armedProcess(h1), syscall.SIGKILL)
		}},
		{"the host's network is cut after the order, and comes back", either, func(t *testing.T) {
			if h1.worker.cmd.ProcessState != nil {
				h1.worker = r.startWorker(h1)
			}
			r.armed(h1)
			r.wires["h1"].cut()
			time.Sleep(40 * time.Second)
			r.wires["h1"].reconnect()
		}},
		{"the server is away for two seconds while armed", labelled, func(t *testing.T) {
			r.armed(h1)
			r.server.kill()
			time.Sleep(2 * time.Second)
			r.startServer()
		}},
		{"control is killed while armed, and started again", labelled, func(t *testing.T) {
			r.armed(h1)
			r.control.kill()
			time.Sleep(12 * time.Second)
			r.startControl()
		}},
		{"control is killed while it undoes, and started again", undone, func(t *testing.T) {
			at, _ := r.armed(h1)
			time.Sleep(time.Until(at) + 200*time.Millisecond)
			_ = syscall.Kill(r.armedProcess(h1), syscall.SIGKILL)
			r.eventually("the window is over", func() bool { return r.phase() != "armed" })
			r.control.kill()
			r.startControl()
		}},
		{"the same snapshot is begun twice", labelled, func(t *testing.T) {
			r.armed(h1)
			var second flow.SnapshotResult
			if err := r.fleet(&second, "snapshot", "shards"); err != nil || !second.Labelled {
				t.Errorf("the second: %v %+v", err, second)
			}
		}},
		{"CreateSnapshots is throttled", either, func(t *testing.T) {
			r.write("sandbox/faults.json", `{"faults": [{"action": "CreateSnapshots", "error": "RequestLimitExceeded", "count": 2}]}`)
			t.Cleanup(func() { os.Remove(r.dir + "/sandbox/faults.json") })
		}},
		{"EC2 labels the set, and its answers are lost", labelled, func(t *testing.T) {
			r.write("sandbox/faults.json", `{"faults": [{"action": "CreateTags", "reset": "after", "count": 6}]}`)
			t.Cleanup(func() { os.Remove(r.dir + "/sandbox/faults.json") })
		}},
		{"the server is away for thirty seconds while armed", either, func(t *testing.T) {
			r.armed(h1)
			r.server.kill()
			time.Sleep(30 * time.Second)
			r.startServer()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := r.labelledSnapshots()
			var got flow.SnapshotResult
			var failure error
			var done sync.WaitGroup
			done.Add(1)
			go func() { defer done.Done(); failure = r.fleet(&got, "snapshot", "shards") }()
			c.do(t)
			done.Wait()
			switch {
			case got.Labelled && failure == nil && c.want&labelled != 0:
			case !got.Labelled && failure != nil && c.want&undone != 0:
			default:
				t.Errorf("labelled: %v, %v", got.Labelled, failure)
			}
			t.Logf("labelled: %v, %v", got.Labelled, failure)
			r.saveHistory("snapshot "+c.name, flowID("snapshot", "shards"))
			after, more := r.labelledSnapshots(), 0
			if got.Labelled {
				more = 3
			}
			if after != before+more {
				t.Errorf("%d labelled snapshots, and there were %d", after, before)
			}
			if left := r.unlabelled(got.Set); left != 0 {
				t.Errorf("%d unlabelled snapshots are left of %s", left, got.Set)
			}
			r.nothingFrozen(t)
		})
	}
}

// armed waits until the host's snapshot is armed, and returns its two times.
func (r *rig) armed(h *testHost) (at, until time.Time) {
	r.t.Helper()
	r.eventually(h.name+" is armed", func() bool { return r.armedProcess(h) != 0 })
	args := commandLine(r.armedProcess(h))
	read := func(flag string) time.Time {
		if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
			at, _ := time.Parse(time.RFC3339Nano, args[i+1])
			return at
		}
		return time.Now()
	}
	return read("--at"), read("--hold-until")
}

func commandLine(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.Split(string(b), "\x00")
}

// armedProcess is the process of snaptastic that waits for the instant on that host, or has frozen; 0 for none.
func (r *rig) armedProcess(h *testHost) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if args := commandLine(pid); slices.Contains(args, "--hold-until") && slices.Contains(args, "--state-dir="+h.dir+"/state") {
			return pid
		}
	}
	return 0
}

func (r *rig) phase() string {
	var list []work
	if r.fleet(&list, "status", "shards") != nil || len(list) == 0 {
		return ""
	}
	return list[0].Phase
}

// labelledSnapshots counts what the hosts' own commands can restore.
func (r *rig) labelledSnapshots() int {
	n := 0
	for _, name := range sortedNames(r.hosts) {
		var list struct {
			Snapshots []struct {
				State       string `json:"state"`
				Consistency string `json:"consistency"`
			} `json:"snapshots"`
		}
		if err := json.Unmarshal([]byte(r.must(r.hosts[name], "snapshots", "db", "-o", "json")), &list); err != nil {
			r.t.Fatal(err)
		}
		for _, s := range list.Snapshots {
			if s.Consistency == "consistent" {
				n++
			}
		}
	}
	return n
}

// unlabelled counts what an undo of the set would delete.
func (r *rig) unlabelled(set string) int {
	if set == "" {
		return 0
	}
	out, err := r.snaptastic(r.hosts["h2"], "undo", "--set", set, "--dry-run", "-o", "json")
	if err != nil && out == "" {
		r.t.Error(err)
	}
	var a struct {
		Deleted []string `json:"deleted"`
	}
	_ = json.Unmarshal([]byte(out), &a)
	return len(a.Deleted)
}

// nothingFrozen writes to every mounted file system. A write to a frozen one would sleep.
func (r *rig) nothingFrozen(t *testing.T) {
	t.Helper()
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		done := make(chan error, 1)
		go func() { done <- os.WriteFile(filepath.Join(h.mount, ".probe"), []byte("x"), 0o600) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s is still frozen", h.mount)
			_, _ = r.snaptastic(h, "thaw", h.mount)
		}
	}
}

// A wire is what a host's worker reaches the server through. Cut, it passes nothing, and says nothing either.
type wire struct {
	mu  sync.Mutex
	off bool
}

func newWire(t testing.TB, to string) (*wire, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &wire{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c, to)
		}
	}()
	return w, l.Addr().String()
}

func (w *wire) carry(c net.Conn, to string) {
	defer c.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() {
			defer func() { done <- struct{}{} }()
			b := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(b)
				if w.isCut() {
					w.wait()
					return
				}
				if _, bad := way[1].Write(b[:n]); err != nil || bad != nil {
					if errors.Is(err, io.EOF) || err != nil {
						return
					}
				}
			}
		}()
	}
	<-done
}

func (w *wire) isCut() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.off }

func (w *wire) wait() {
	for w.isCut() {
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *wire) cut()       { w.mu.Lock(); w.off = true; w.mu.Unlock() }
func (w *wire) reconnect() { w.mu.Lock(); w.off = false; w.mu.Unlock() }
