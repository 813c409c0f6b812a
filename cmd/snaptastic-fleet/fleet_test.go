package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic-fleet/flow"
)

// A load writes 1, 2, 3 … one after the other to the shards in turn, each synced
// before the next one is begun. At every instant the shards together hold all
// numbers up to one of them; two instants mixed have a gap.
type load struct {
	files []*os.File
	stop  chan struct{}
	done  sync.WaitGroup
	last  int
	// longest is how long the slowest of the writes took: as long as the longest freeze, or longer.
	longest time.Duration
	pace    time.Duration // between two of them
}

func startLoad(t *testing.T, hosts ...*testHost) *load {
	t.Helper()
	return startPacedLoad(t, 0, hosts...)
}

func startPacedLoad(t *testing.T, pace time.Duration, hosts ...*testHost) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), pace: pace}
	for _, h := range hosts {
		f, err := os.OpenFile(filepath.Join(h.mount, "numbers"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		l.files = append(l.files, f)
	}
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		for n := 1; ; n++ {
			select {
			case <-l.stop:
				return
			case <-time.After(l.pace):
			}
			f, begun := l.files[n%len(l.files)], time.Now()
			if _, err := fmt.Fprintf(f, "%d\n", n); err != nil {
				return
			}
			if f.Sync() != nil {
				return
			}
			l.last, l.longest = n, max(l.longest, time.Since(begun))
		}
	}()
	return l
}

// end stops the load and returns the last number that was written.
func (l *load) end() int {
	close(l.stop)
	l.done.Wait() // a frozen file system would hold it: its guard thaws
	for _, f := range l.files {
		f.Close()
	}
	return l.last
}

// numbers reads what the shards hold: the largest number, and the first that is missing below it.
func numbers(t *testing.T, hosts ...*testHost) (largest, missing int) {
	t.Helper()
	there := map[int]bool{}
	for _, h := range hosts {
		f, err := os.Open(filepath.Join(h.mount, "numbers"))
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			n, err := strconv.Atoi(s.Text())
			if err != nil {
				continue // the line that was being written
			}
			there[n] = true
			largest = max(largest, n)
		}
		f.Close()
	}
	for n := 1; n < largest; n++ {
		if !there[n] {
			return largest, n
		}
	}
	return largest, 0
}

// counters reads all numbers of the shards, wherever their hosts are.
const counters = `for host in h4 h5 h6; do ssh $host cat /data/numbers; done | sort -n | awk 'END { print NR " numbers, the largest is " $1 }'`

// Three shards hold one counter. They are snapshotted together, all hosts are lost, and three new ones restore them: the shards agree.
func TestAllHostsAreLostAndRestored(t *testing.T) {
	r := newRig(t, 3)
	h1, h2, h3 := r.hosts["h1"], r.hosts["h2"], r.hosts["h3"]
	for _, h := range []*testHost{h1, h2, h3} {
		r.must(h, "run", "mount", "db")
	}
	s := &transcript{r: r}
	l := startLoad(t, h1, h2, h3)
	shown := s.fleet("snapshot", "shards")
	written := l.end()
	var list []work
	if err := r.fleet(&list, "status", "shards"); err != nil || len(list) != 1 || list[0].State != "done" {
		t.Fatalf("%v: %+v\n%s", err, list, shown)
	}
	set, line := list[0].Set, proof.FindStringSubmatch(shown)
	if line == nil || line[1] != set || line[2] != "3" || line[3] == "0.0" {
		t.Errorf("no proof of set %s: %s", set, shown)
	}
	s.fleet("status", "shards")

	for _, h := range []*testHost{h1, h2, h3} { // lost: no worker, no volume
		h.worker.kill()
		if err := unix.Unmount(h.mount, 0); err != nil {
			t.Fatal(err)
		}
		delete(r.hosts, h.name)
	}
	fresh := []*testHost{r.addHost("h4", "1"), r.addHost("h5", "2"), r.addHost("h6", "3")}
	r.write("fleet.hcl", r.settings(r.onControl))
	if out := s.fleet("restore", "shards", "--set", set, "--fresh", "--at-once", "2"); !strings.HasSuffix(out, "3 of 3 hosts done\n") {
		t.Fatal(out)
	}
	largest, missing := numbers(t, fresh...)
	if missing != 0 || largest == 0 || largest > written {
		t.Errorf("the shards hold numbers up to %d of %d, and %d is missing", largest, written, missing)
	}
	if out := s.shell(counters, "numbers", fresh...); out != fmt.Sprintf("%d numbers, the largest is %d\n", largest, largest) {
		t.Errorf("%d is the largest of %d numbers: %s", largest, written, out)
	}
	s.isInTheDocs(t, "## What it looks like")

	// Asked again, each host looks whether it is mounted, and nothing is made or attached again.
	made := func() string {
		return fmt.Sprint(len(r.called("CreateVolume")), len(r.called("AttachVolume")), len(r.called("DetachVolume")))
	}
	before := made()
	var restored flow.HostsResult
	if err := r.fleet(&restored, "restore", "shards", "--set", set, "--fresh"); err != nil || restored.Done != 3 {
		t.Fatalf("again: %v: %+v", err, restored)
	}
	if after := made(); after != before || strings.HasPrefix(before, "0 ") {
		t.Errorf("a second restore of the same set has created, attached or detached volumes: %s, and before it %s", after, before)
	}
	if now, gone := numbers(t, fresh...); now != largest || gone != 0 {
		t.Errorf("after it the shards hold numbers up to %d, and %d is missing", now, gone)
	}
}
