package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
)

// fakeCloud is a small world with things in it: each thing has the token of who
// made it. It outlives the runners that act on it.
type fakeCloud struct {
	mu        sync.Mutex
	things    map[string]string // name -> token
	open      bool              // the atomic section's door
	snapshots map[string]bool   // token -> taken while open
	hooks     []string
	log       []string // step:verb, in order
	boot      string
	fail      map[string]error // step:verb -> error, once
	failpoint *failpoint
}

// failpoint blows at the n-th point: from then on nothing has an effect any more,
// as after SIGKILL.
type failpoint struct {
	mu        sync.Mutex
	at        int // 0: never
	points    int
	triggered bool
	cancel    context.CancelFunc
	name      string
}

var errDead = errors.New("the process is dead")

func (f *failpoint) reach(name string) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.points++
	if f.points == f.at {
		f.triggered, f.name = true, name
		f.cancel()
	}
	if f.triggered {
		return errDead
	}
	return nil
}

type in struct {
	Name string             `json:"name"`
	From plan.Value[string] `json:"from"`
	List []plan.Value[string]
}

var (
	readDef     = plan.Def[in, string]{Kind: "read", Scope: plan.Cloud, ReadOnly: true}
	tokenDef    = plan.Def[in, string]{Kind: "token", ObserveBy: plan.ByToken, Scope: plan.Cloud}
	stateDef    = plan.Def[in, string]{Kind: "state", ObserveBy: plan.ByState, Scope: plan.Boot}
	hookDef     = plan.Def[in, string]{Kind: "hook", ObserveBy: plan.Blind, Scope: plan.Boot}
	openDef     = plan.Def[in, string]{Kind: "open", ObserveBy: plan.Blind, Scope: plan.Cloud}
	snapshotDef = plan.Def[in, string]{Kind: "shot", ObserveBy: plan.ByToken, Scope: plan.Cloud}
	closeDef    = plan.Def[in, string]{Kind: "close", ObserveBy: plan.Blind, Scope: plan.Cloud}
	takeDef     = plan.Def[in, string]{Kind: "take", ObserveBy: plan.ByState, Scope: plan.Cloud}
)

func (w *fakeCloud) record(a plan.Attempt, verb string) error {
	w.log = append(w.log, fmt.Sprintf("%s:%s", a.Step, verb))
	key := fmt.Sprintf("%s:%s", a.Step, verb)
	if err := w.fail[key]; err != nil {
		delete(w.fail, key)
		return err
	}
	return nil
}

// effect runs f between two points of the fuse: a crash before it, and a crash
// after it whose answer is lost.
func (w *fakeCloud) effect(a plan.Attempt, verb string, f func()) error {
	if err := w.failpoint.reach(string(a.Step) + ":before " + verb); err != nil {
		return err
	}
	w.mu.Lock()
	err := w.record(a, verb)
	if err == nil {
		f()
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return w.failpoint.reach(string(a.Step) + ":after " + verb)
}

func (w *fakeCloud) handlers() plan.Handlers {
	h := plan.Handlers{}
	plan.Bind(h, readDef, plan.Funcs[in, string]{
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			return "read-" + i.Name, w.effect(a, "do", func() {})
		}})
	look := func(name string, a plan.Attempt) plan.Observed[string] {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch w.things[name] {
		case "":
			return plan.Observed[string]{State: plan.Absent}
		case "enemy":
			return plan.Observed[string]{State: plan.Conflict, Note: name + " belongs to an enemy"}
		}
		return plan.Observed[string]{State: plan.Satisfied, Out: name}
	}
	plan.Bind(h, stateDef, plan.Funcs[in, string]{
		Observe: func(_ context.Context, a plan.Attempt, i in) (plan.Observed[string], error) {
			return look(i.Name, a), nil
		},
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			return i.Name, w.effect(a, "do", func() { w.things[i.Name] = a.Token })
		},
		Undo: func(_ context.Context, a plan.Attempt, i in, _ string) error {
			return w.effect(a, "undo", func() { delete(w.things, i.Name) })
		}})
	plan.Bind(h, tokenDef, plan.Funcs[in, string]{
		Observe: func(_ context.Context, a plan.Attempt, i in) (plan.Observed[string], error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if _, ok := w.things[i.Name+"@"+a.Token]; ok {
				return plan.Observed[string]{State: plan.Ours, Out: i.Name}, nil
			}
			return plan.Observed[string]{State: plan.Absent}, nil
		},
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			return i.Name, w.effect(a, "do", func() { w.things[i.Name+"@"+a.Token] = a.Token })
		},
		Undo: func(_ context.Context, a plan.Attempt, i in, _ string) error {
			if a.Keep {
				return plan.Skip(fmt.Errorf("%s remains", i.Name))
			}
			return w.effect(a, "undo", func() { delete(w.things, i.Name+"@"+a.Token) })
		}})
	// A thing cannot be taken away while another one stands on it.
	under := map[string]string{"att": "mnt", "vol": "att"}
	plan.Bind(h, takeDef, plan.Funcs[in, string]{
		Observe: func(_ context.Context, a plan.Attempt, i in) (plan.Observed[string], error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.count(i.Name) == 0 {
				return plan.Observed[string]{State: plan.Satisfied, Out: i.Name}, nil
			}
			return plan.Observed[string]{State: plan.Absent}, nil
		},
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			busy := false
			err := w.effect(a, "do", func() {
				if busy = under[i.Name] != "" && w.count(under[i.Name]) > 0; !busy {
					maps.DeleteFunc(w.things, func(name, _ string) bool { return strings.HasPrefix(name, i.Name) })
				}
			})
			if busy && err == nil {
				err = fmt.Errorf("%s is in use by %s", i.Name, under[i.Name])
			}
			return i.Name, err
		},
		Undo: func(_ context.Context, a plan.Attempt, i in, _ string) error {
			return w.effect(a, "undo", func() { w.things[i.Name] = "put back" })
		}})
	plan.Bind(h, hookDef, plan.Funcs[in, string]{
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			return "", w.effect(a, "do", func() { w.hooks = append(w.hooks, i.Name) })
		}})
	plan.Bind(h, openDef, plan.Funcs[in, string]{
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			return "", w.effect(a, "do", func() { w.open = true })
		}})
	plan.Bind(h, closeDef, plan.Funcs[in, string]{
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			defer func() {
				if w.failpoint == nil || !w.failpoint.triggered { // a failing close still closes
					w.open = false
				}
			}()
			return "", w.effect(a, "do", func() {})
		}})
	plan.Bind(h, snapshotDef, plan.Funcs[in, string]{
		Observe: func(_ context.Context, a plan.Attempt, i in) (plan.Observed[string], error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if _, ok := w.snapshots[a.Token]; ok {
				return plan.Observed[string]{State: plan.Ours, Out: a.Token}, nil
			}
			return plan.Observed[string]{State: plan.Absent}, nil
		},
		Do: func(_ context.Context, a plan.Attempt, i in) (string, error) {
			return a.Token, w.effect(a, "do", func() { w.snapshots[a.Token] = w.open })
		},
		Undo: func(_ context.Context, a plan.Attempt, i in, _ string) error {
			return w.effect(a, "undo", func() { delete(w.snapshots, a.Token) })
		}})
	return h
}

func newFakeCloud() *fakeCloud {
	return &fakeCloud{things: map[string]string{}, snapshots: map[string]bool{}, fail: map[string]error{}, boot: "boot-1"}
}

// failpointJournal is a real journal with a point before and after each write.
type failpointJournal struct {
	*journal.Run
	w *fakeCloud
}

func (f failpointJournal) Commit(e []journal.Entry, done func(error)) {
	if err := f.w.failpoint.reach("before commit"); err != nil {
		done(err)
		return
	}
	f.Run.Commit(e, func(err error) {
		if err == nil {
			err = f.w.failpoint.reach("after commit")
		}
		done(err)
	})
}

// bench is a world, a store and a plan.
type bench struct {
	t     *testing.T
	w     *fakeCloud
	store *journal.Store
	plan  *plan.Plan
	run   plan.RunID
	conf  func(*Config)
}

func newBench(t *testing.T, p *plan.Plan) *bench {
	t.Helper()
	s, err := journal.OpenStore(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, w: newFakeCloud(), store: s, plan: p, run: "run-1"}
}

// do executes or rolls back in what stands for one process; fuseAt kills it.
func (b *bench) do(rollback bool, fuseAt int) (Result, *failpoint) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.w.failpoint = &failpoint{at: fuseAt, cancel: cancel}
	run, err := b.store.Resume(b.run)
	if err != nil {
		run, err = b.store.Begin(journal.Meta{Run: b.run, BootID: b.w.boot}, b.plan)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer run.Close()
	c := Config{Plan: run.Plan(), Run: b.run, Records: run.Records(), Journal: failpointJournal{run, b.w}, Handlers: b.w.handlers(),
		BootID: b.w.boot, Settle: time.Millisecond, RetryMin: time.Millisecond, RetryMax: 4 * time.Millisecond, StopGrace: time.Second, Timeout: 5 * time.Second}
	if b.conf != nil {
		b.conf(&c)
	}
	if rollback {
		return Rollback(ctx, c), b.w.failpoint
	}
	return Execute(ctx, c), b.w.failpoint
}

// bigPlan has everything: brackets, lanes, an atomic section.
func bigPlan(t testing.TB, lanes int) *plan.Plan {
	t.Helper()
	head := plan.Plan{Operation: "test", Snapshotter: "s", ResumePolicy: plan.ResumeAnyBoot}
	for i := range lanes {
		head.Lanes = append(head.Lanes, plan.Lane{ID: fmt.Sprint("L", i), Claims: []string{fmt.Sprint("mount:L", i)}})
	}
	b := plan.NewBuilder(head)
	b.Section("hooks", plan.Bracket)
	plan.Add(b, hookDef, "pre", in{Name: "pre"}, plan.Opens("hooks"))
	var ends []plan.Value[string]
	for i := range lanes {
		lane := plan.InLane(fmt.Sprint("L", i))
		id := func(k string) plan.StepID { return plan.StepID(fmt.Sprintf("%s:L%d", k, i)) }
		found := plan.Add(b, readDef, id("find"), in{Name: "v"}, lane, plan.In("hooks"))
		made := plan.Add(b, tokenDef, id("create"), in{Name: fmt.Sprint("vol", i), From: found}, lane, plan.In("hooks"), plan.KeptBy(id("mount")))
		ends = append(ends, plan.Add(b, stateDef, id("mount"), in{Name: fmt.Sprint("mnt", i), From: made}, lane, plan.In("hooks")))
	}
	b.Section("atomic", plan.Atomic)
	plan.Add(b, openDef, "open", in{List: ends}, plan.Opens("atomic"), plan.In("hooks"))
	shot := plan.Add(b, snapshotDef, "shot", in{List: ends}, plan.In("atomic"), plan.In("hooks"))
	plan.Add(b, closeDef, "close", in{}, plan.Closes("atomic"), plan.In("hooks"))
	plan.Add(b, stateDef, "tag", in{Name: "tag", From: shot}, plan.After("close"), plan.In("hooks"))
	plan.Add(b, hookDef, "post", in{Name: "post"}, plan.Closes("hooks"))
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *fakeCloud) count(prefix string) (n int) {
	for k := range w.things {
		if strings.HasPrefix(k, prefix) {
			n++
		}
	}
	return n
}

func (w *fakeCloud) times(what string) int {
	n := 0
	for _, l := range w.log {
		if l == what {
			n++
		}
	}
	return n
}

func order(log []string, first, second string) bool {
	return slices.Index(log, first) < slices.Index(log, second)
}
