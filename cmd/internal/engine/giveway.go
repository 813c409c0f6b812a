package engine

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

const (
	askForWay = 2 * time.Second  // for the question
	awaitWay  = 10 * time.Second // until the run that reads has ended
)

// A wayGiver ends the warming of a run when another run is about to unmount a volume of it. It listens on a socket in
// STATE/warming. Who connects says its claims in JSON, and the connection lasts until the run has ended, if they meet.
type wayGiver struct {
	give    chan struct{} // closed when the run is to end
	claims  []string      // of the lanes that are warmed
	path    string
	l       net.Listener
	over    sync.WaitGroup
	giving  sync.Once
	mu      sync.Mutex
	waiting map[net.Conn]bool
	closed  bool
}

// serveWay answers until close; nil where the run warms nothing. Without a socket whoever unmounts finds the volume in use.
func (e *Engine) serveWay(store *journal.Store, run plan.RunID, p *plan.Plan) *wayGiver {
	var lanes []string
	for i := range p.Steps {
		if p.Steps[i].Kind == steps.Warm.Kind {
			lanes = append(lanes, p.Steps[i].Lane)
		}
	}
	if len(lanes) == 0 {
		return nil
	}
	g := &wayGiver{give: make(chan struct{}), claims: p.Claims(lanes...), path: filepath.Join(warmingDir(store), string(run)), waiting: map[net.Conn]bool{}}
	for _, lane := range lanes {
		g.claims = append(g.claims, "mount:"+lane)
	}
	if err := g.listen(); err != nil {
		e.log.Warn("a run that unmounts the volumes cannot ask this one to stop", "error", err)
	}
	return g
}

func warmingDir(store *journal.Store) string { return filepath.Join(store.Dir(), "warming") }

func (g *wayGiver) listen() error {
	if err := os.MkdirAll(filepath.Dir(g.path), 0o700); err != nil {
		return err
	}
	l, err := listenAt(g.path)
	if err != nil {
		return err
	}
	g.l = l
	g.over.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.over.Go(func() { g.answer(c) })
		}
	})
	return nil
}

// answer hears what one other run claims.
func (g *wayGiver) answer(c net.Conn) {
	g.mu.Lock()
	closed := g.closed
	g.waiting[c] = true
	g.mu.Unlock()
	_ = c.SetReadDeadline(time.Now().Add(askForWay))
	var claims []string
	err := json.NewDecoder(io.LimitReader(c, 1<<20)).Decode(&claims)
	if err == nil && !closed && slices.ContainsFunc(claims, func(s string) bool { return slices.Contains(g.claims, s) }) {
		g.giving.Do(func() { close(g.give) })
		return
	}
	_ = c.Close()
}

// close tells who waits that the run has ended.
func (g *wayGiver) close() {
	if g == nil || g.l == nil {
		return
	}
	_ = g.l.Close()
	_ = os.Remove(g.path)
	g.mu.Lock()
	g.closed = true
	for c := range g.waiting {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.over.Wait()
}

// channel is closed when the run is to end; nil where it warms nothing.
func (g *wayGiver) channel() <-chan struct{} {
	if g == nil {
		return nil
	}
	return g.give
}

// askForVolumes has the live runs that read the volumes of a plan stop, and waits until they have ended: a plan that unmounts, or
// the undoing of one that mounted. Reading is never in the way of that.
func (e *Engine) askForVolumes(ctx context.Context, store *journal.Store, p *plan.Plan, rollback bool) {
	if op, _ := recipe.Named(p.Operation); !op.TakesAway() && !(rollback && op.ChangesMounts()) {
		return
	}
	sockets, _ := os.ReadDir(warmingDir(store))
	var all sync.WaitGroup
	for _, s := range sockets {
		all.Go(func() {
			if err := e.askOne(ctx, filepath.Join(warmingDir(store), s.Name()), p.Claims()); err != nil && ctx.Err() == nil {
				e.log.Warn("a run that reads the volumes does not stop", "run", s.Name(), "error", err)
			}
		})
	}
	all.Wait()
}

// askOne asks one run. That nobody listens is an answer: its process was killed.
func (e *Engine) askOne(ctx context.Context, path string, claims []string) error {
	c, err := join(path)
	if err != nil {
		return nil
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_ = c.SetDeadline(time.Now().Add(awaitWay))
	if err := json.NewEncoder(c).Encode(claims); err != nil {
		return nil
	}
	_, err = c.Read(make([]byte, 1))
	if err == io.EOF {
		return nil
	}
	return err
}
