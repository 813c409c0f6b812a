package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// How long file systems are frozen: by writes to them, and by what the hosts' journals say.

// A watch writes to a file system, over and over. A write to a frozen one waits until it is thawed, so the longest of them took as
// long as the freeze or longer. It does not sync: on a busy disk that would take long, too.
type watch struct {
	host *testHost
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	begun   time.Time     // the write that is under way; zero: none
	longest time.Duration // of those that have ended
	err     error
}

// watches begins one on each host. They end with the test at the latest.
func (r *rig) watches(t *testing.T) map[string]*watch {
	t.Helper()
	all := map[string]*watch{}
	for name, h := range r.hosts {
		f, err := os.OpenFile(filepath.Join(h.mount, ".watch"), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		w := &watch{host: h, stop: make(chan struct{}), done: make(chan struct{})}
		all[name] = w
		go w.run(f)
		t.Cleanup(func() { r.endWatch(t, w) })
	}
	return all
}

func (w *watch) run(f *os.File) {
	defer close(w.done)
	defer f.Close()
	for {
		begun := time.Now()
		w.mu.Lock()
		w.begun = begun
		w.mu.Unlock()
		_, err := f.WriteAt([]byte("x"), 0)
		w.mu.Lock()
		w.begun, w.longest, w.err = time.Time{}, max(w.longest, time.Since(begun)), err
		w.mu.Unlock()
		select {
		case <-w.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if err != nil {
			return
		}
	}
}

// blocked reports whether a write has waited for so long.
func (w *watch) blocked(d time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.begun.IsZero() && time.Since(w.begun) > d
}

// endWatch returns how long the longest write took.
func (r *rig) endWatch(t *testing.T, w *watch) time.Duration {
	t.Helper()
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	select {
	case <-w.done:
	case <-time.After(time.Minute):
		t.Errorf("%s is still frozen", w.host.mount)
		_, _ = r.snaptastic(w.host, "thaw", w.host.mount)
		<-w.done
	}
	if w.err != nil {
		t.Errorf("%s: %v", w.host.name, w.err)
	}
	return w.longest
}

// A freeze is one of a host's journal.
type freeze struct {
	run           string
	FrozenSeconds float64 `json:"frozen_seconds"`
	Mounts        []struct {
		FrozenAt time.Time `json:"frozen_at"`
		ThawedAt time.Time `json:"thawed_at"`
	} `json:"mounts"`
}

// freezes are those of the host's runs that were begun since then.
func (r *rig) freezes(h *testHost, since time.Time) (list []freeze) {
	r.t.Helper()
	var rows []struct {
		Run     string    `json:"run"`
		Created time.Time `json:"created"`
	}
	if err := json.Unmarshal([]byte(r.must(h, "runs", "-o", "json")), &rows); err != nil {
		r.t.Fatal(err)
	}
	for _, row := range rows {
		if row.Created.Before(since) {
			continue
		}
		var run struct {
			Steps []struct {
				Kind   string          `json:"kind"`
				Output json.RawMessage `json:"output"`
			} `json:"steps"`
		}
		if err := json.Unmarshal([]byte(r.must(h, "show", row.Run, "-o", "json")), &run); err != nil {
			r.t.Fatal(err)
		}
		for _, s := range run.Steps {
			f := freeze{run: row.Run}
			if s.Kind == "thaw" && len(s.Output) > 0 && json.Unmarshal(s.Output, &f) == nil && len(f.Mounts) > 0 {
				list = append(list, f)
			}
		}
	}
	return list
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
