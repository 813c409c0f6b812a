package engine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// A served run is a status server without a run.
type served struct {
	*statusServer
	t    *testing.T
	path string
	plan *plan.Plan
}

func serve(t *testing.T, steps int) *served {
	t.Helper()
	p := &plan.Plan{Operation: "mount", Snapshotter: "db"}
	for i := range steps {
		p.Steps = append(p.Steps, plan.Step{ID: plan.StepID(fmt.Sprintf("step-%d", i)), Title: strings.Repeat("x", 1000)})
	}
	path := filepath.Join(t.TempDir(), "run.sock")
	v := &served{serveStatus(path, status{Meta: journal.Meta{Run: "r"}, Plan: p, Records: map[plan.StepID]journal.Record{}, PID: 1, Since: time.Now()}), t, path, p}
	t.Cleanup(v.end)
	return v
}

// happens tells of one event.
func (v *served) happens(what runner.EventKind, step int) {
	s := &v.plan.Steps[step]
	v.event(EventOf("r", runner.Event{At: time.Now(), Step: s, Kind: what, Record: journal.Record{State: journal.Started}}), journal.Record{State: journal.Started})
}

// lines reads the lines of a watcher.
func (v *served) lines() (*net.UnixConn, *bufio.Reader) {
	v.t.Helper()
	c, err := join(v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	return c, bufio.NewReader(c)
}

func next[T any](t *testing.T, r *bufio.Reader) (v T) {
	t.Helper()
	line, err := r.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &v)
	}
	if err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return v
}

func TestAWatcherReadsHowARunStandsAndThenItsEvents(t *testing.T) {
	v := serve(t, 3)
	v.happens(runner.Starting, 0)
	v.happens(runner.Progressing, 0)
	v.happens(runner.Starting, 1)
	v.happens(runner.Finished, 1)
	v.event(EventOf("r", runner.Event{Kind: runner.Stopping, Wait: 10 * time.Second, Finishing: []*plan.Step{&v.plan.Steps[0]}}), journal.Record{})
	_, r := v.lines()
	s := next[status](t, r)
	if s.Plan.Snapshotter != "db" || len(s.Running) != 2 || s.Running[0].Event != "started" || s.Running[1].Event != "progress" || s.Stopping == nil || s.Stopping.Finishing[0] != "step-0" || s.Stopping.Grace != 10 || len(s.Records) != 2 {
		t.Fatalf("%+v", s)
	}
	v.happens(runner.Retrying, 0)
	if e := next[Event](t, r); e.Event != "retry" || e.Step != "step-0" {
		t.Fatalf("%+v", e)
	}
	v.event(Event{Event: RunEnded, Run: "r", Outcome: journal.RunDone}, journal.Record{})
	v.end()
	if e := next[Event](t, r); e.Event != RunEnded || e.Outcome != journal.RunDone {
		t.Fatalf("%+v", e)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Lstat(v.path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

// A watcher that never reads, such as a stopped one, costs the run nothing: the run's calls return at once, the watcher is
// dropped, and others go on.
func TestAWatcherThatNeverReadsIsDropped(t *testing.T) {
	v := serve(t, 3000) // more than the kernel takes at once
	asleep, _ := v.lines()
	_, r := v.lines()
	if s := next[status](t, r); len(s.Plan.Steps) != 3000 {
		t.Fatalf("%d steps", len(s.Plan.Steps))
	}
	awake := make(chan int)
	go func() {
		n := 0
		for {
			line, err := r.ReadBytes('\n')
			if err != nil || strings.Contains(string(line), RunEnded) {
				awake <- n
				return
			}
			n++
		}
	}()
	const events = 20000
	for i := range events {
		v.happens(runner.Starting, i%3000)
		if i%100 == 0 { // as fast as a run is, and no faster
			time.Sleep(time.Millisecond)
		}
	}
	left := func() (n int) {
		done := make(chan struct{})
		v.queue.put(func() { n = len(v.watchers); close(done) })
		<-done
		return n
	}
	for deadline := time.Now().Add(time.Minute); left() > 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watcher that never reads is still there")
		}
	}
	_ = asleep.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, asleep); err != nil {
		t.Errorf("it was not told of its end: %v", err)
	}
	v.event(Event{Event: RunEnded, Run: "r"}, journal.Record{})
	if n := <-awake; n != events {
		t.Errorf("the other watcher has %d of %d events", n, events)
	}
}

func TestNothingIsSentWhileAWindowIsOpen(t *testing.T) {
	v := serve(t, 2)
	_, r := v.lines()
	next[status](t, r)
	v.happens(runner.WindowOpening, 0)
	v.window(true)
	if e := next[Event](t, r); e.Event != "window-opened" {
		t.Fatalf("%+v: the opening is told before", e)
	}
	late, lateLines := v.lines()
	v.happens(runner.Starting, 1) // no runner tells anything meanwhile
	for _, c := range []*net.UnixConn{late} {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("a watcher was answered in the window")
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	}
	if r.Buffered() > 0 {
		t.Error("a watcher was told something in the window")
	}
	v.window(false)
	if e := next[Event](t, r); e.Event != "started" {
		t.Errorf("%+v", e)
	}
	if s := next[status](t, lateLines); len(s.Running) != 2 {
		t.Errorf("%+v", s.Running)
	}
}

func TestManyWatchers(t *testing.T) {
	v := serve(t, 2)
	var all sync.WaitGroup
	var told sync.WaitGroup
	for range maxWatchers {
		_, r := v.lines()
		told.Add(1)
		all.Go(func() {
			next[status](t, r)
			told.Done()
			for range 100 {
				if e := next[Event](t, r); e.Event != "progress" {
					t.Errorf("%+v", e)
				}
			}
		})
	}
	told.Wait()
	_, r := v.lines() // one too many
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("one too many: %v", err)
	}
	for range 100 {
		v.happens(runner.Progressing, 0)
	}
	all.Wait()
}

// Places of watchers that have gone are given to others, also while nothing happens.
func TestAWatcherThatHasGoneMakesRoom(t *testing.T) {
	v := serve(t, 1)
	for range 3 * maxWatchers {
		if s, err := askStatus(v.path); err != nil || s.PID != 1 {
			t.Fatalf("%v: %+v", err, s)
		}
	}
}

// Who connects while a socket is made again is never refused: a watcher would take the run for one that was killed.
func TestASocketAnswersAsSoonAsItIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.sock")
	l, err := listenAt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	over := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				c, err := net.Dial("unix", path)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.Close()
			}
		})
	}
	for range 500 {
		l, err := listenAt(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	close(over)
	all.Wait()
}

func TestASocketIsOnlyTrustedWhereItIsOne(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file.sock")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.sock")
	if err := os.Symlink(serve(t, 1).path, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if _, err := join(path); err == nil || !strings.Contains(err.Error(), "it is not a socket") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := join(filepath.Join(dir, "none.sock")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// A socket on which another user answers is refused: what it says would be shown to root.
func TestASocketOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "run.sock")
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), listenVar+"="+path)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := join(path)
		if err != nil && strings.Contains(err.Error(), "user 65534 answers on it, not root") {
			return
		}
		if err == nil || time.Now().After(deadline) {
			t.Fatalf("joined the socket of another user: %v", err)
		}
	}
}

// listenVar names the socket on which a process of another user is to listen.
const listenVar = "SNAPTASTIC_TEST_LISTEN"

// listenAsNobody is that process.
func listenAsNobody() {
	path := os.Getenv(listenVar)
	if path == "" {
		return
	}
	if err := unix.Setuid(65534); err != nil {
		panic(err)
	}
	if _, err := net.Listen("unix", path); err != nil {
		panic(err)
	}
	select {}
}
