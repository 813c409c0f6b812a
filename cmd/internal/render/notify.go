package render

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// Notify returns p, and also tells systemd how many volumes are done: `systemctl status` shows it in its line Status. It costs the
// run nothing: what systemd does not take in time is dropped, and nothing is sent while a section is frozen.
// Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func Notify(p Progress, of *plan.Plan, records map[plan.StepID]journal.Record) Progress {
	n := &notifier{Progress: p, plan: of, left: map[string]int{}, failed: map[string]bool{}, ended: map[plan.StepID]bool{}, texts: make(chan string, 1), over: make(chan struct{})}
	for i := range of.Steps {
		s := &of.Steps[i]
		n.left[s.Lane]++
		n.see(s, records[s.ID])
	}
	go func() {
		defer close(n.over)
		for text := range n.texts {
			_, _ = daemon.SdNotify(false, "STATUS="+text) // without systemd, or when it does not answer, there is nobody to tell
		}
	}()
	n.tell()
	return n
}

type notifier struct {
	Progress
	plan   *plan.Plan
	left   map[string]int // steps of each lane that are not over
	failed map[string]bool
	ended  map[plan.StepID]bool
	open   bool
	last   string
	texts  chan string // the newest one
	over   chan struct{}
}

// Event passes on and counts.
func (n *notifier) Event(e runner.Event) {
	n.Progress.Event(e)
	if e.Kind == runner.Progressing {
		return
	}
	n.see(e.Step, e.Record)
	n.tell()
}

func (n *notifier) see(s *plan.Step, r journal.Record) {
	switch r.State {
	case journal.Done:
		if !n.ended[s.ID] {
			n.ended[s.ID] = true
			n.left[s.Lane]--
		}
	case journal.Failed:
		n.failed[s.Lane] = true
	case journal.Started: // again
		n.failed[s.Lane] = false
	}
}

// Window keeps still while it is open.
func (n *notifier) Window(open bool) {
	n.Progress.Window(open)
	n.open = open
	n.tell()
}

func (n *notifier) tell() {
	done, failed := 0, 0
	for _, lane := range n.plan.Lanes {
		switch {
		case n.failed[lane.ID]:
			failed++
		case n.left[lane.ID] == 0:
			done++
		}
	}
	text := fmt.Sprintf("%s %s: %d of %d done", n.plan.Operation, n.plan.Snapshotter, done, len(n.plan.Lanes))
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	if text = clean(text); n.open || text == n.last {
		return
	}
	n.last = text
	select { // only the newest counts
	case <-n.texts:
	default:
	}
	n.texts <- text
}

// Close waits a moment for what is still to be sent.
func (n *notifier) Close() {
	n.Progress.Close()
	close(n.texts)
	select {
	case <-n.over:
	case <-time.After(time.Second):
	}
}
