package engine

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// A status is what a live run tells whoever asks: the locked journal cannot be
// read meanwhile.
type status struct {
	Meta     journal.Meta                   `json:"meta"`
	Plan     *plan.Plan                     `json:"plan"`
	Records  map[plan.StepID]journal.Record `json:"records"`
	Progress map[plan.StepID]plan.Progress  `json:"progress,omitempty"`
}

// statusServer answers on a socket beside the journal: each connection gets one
// status and is closed.
type statusServer struct {
	mu sync.Mutex
	status
	l    net.Listener
	path string
	over sync.WaitGroup
}

// serveStatus answers until close. A socket that cannot be made costs the
// answers and nothing else.
func serveStatus(path string, m journal.Meta, p *plan.Plan, records map[plan.StepID]journal.Record) *statusServer {
	v := &statusServer{path: path, status: status{Meta: m, Plan: p, Records: records, Progress: map[plan.StepID]plan.Progress{}}}
	_ = os.Remove(path)
	short, done, err := shortPath(path)
	if err != nil {
		return v
	}
	defer done()
	if v.l, err = net.Listen("unix", short); err != nil {
		v.l = nil
		return v
	}
	v.l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = os.Chmod(path, 0o600)
	v.over.Go(func() {
		for {
			c, err := v.l.Accept()
			if err != nil {
				return
			}
			v.answer(c)
		}
	})
	return v
}

func (v *statusServer) answer(c net.Conn) {
	defer c.Close()
	v.mu.Lock()
	body, err := json.Marshal(v.status)
	v.mu.Unlock()
	if err == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a reader that sleeps must not hold up others
		_, _ = c.Write(body)
	}
}

func (v *statusServer) event(e runner.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Kind == runner.Progressing {
		v.Progress[e.Step.ID] = e.Progress
		return
	}
	if e.Record.State != "" {
		v.Records[e.Step.ID] = e.Record
	}
}

func (v *statusServer) close() {
	if v.l != nil {
		_ = v.l.Close()
	}
	_ = os.Remove(v.path)
	v.over.Wait()
}

// askStatus asks a live run.
func askStatus(path string) (status, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return status{}, err
	}
	defer done()
	c, err := net.DialTimeout("unix", short, time.Second)
	if err != nil {
		return status{}, err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	var s status
	if err := json.NewDecoder(c).Decode(&s); err != nil {
		return s, err
	}
	return s, nil
}

// shortPath names a socket through its open folder: an address holds 107
// bytes (unix(7)), a state folder's path may be longer.
func shortPath(path string) (string, func(), error) {
	if len(path) < 100 {
		return path, func() {}, nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(path)), func() { _ = d.Close() }, nil
}
