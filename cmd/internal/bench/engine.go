package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

type nothing struct {
	Name string             `json:"name"`
	From plan.Value[string] `json:"from"`
}

// noop is a step with an intent, an effect that is none, and an outcome.
var noop = plan.Def[nothing, string]{Kind: "noop", ObserveBy: plan.ByToken, Scope: plan.Cloud, Idempotent: true}

func handlers() plan.Handlers {
	h := plan.Handlers{}
	plan.Bind(h, noop, plan.Funcs[nothing, string]{
		Do: func(_ context.Context, _ plan.Attempt, in nothing) (string, error) { return in.Name, nil },
	})
	return h
}

// chains is a plan of lanes, each a chain of steps; a closed one ends with a
// step that comes after all of them, as a last hook does.
func chains(lanes, steps int, closed bool) (*plan.Plan, error) {
	head := plan.Plan{Operation: "bench", Snapshotter: "bench", ResumePolicy: plan.ResumeAnyBoot}
	for l := range lanes {
		id := fmt.Sprintf("/mnt/%d", l)
		head.Lanes = append(head.Lanes, plan.Lane{ID: id})
	}
	b := plan.NewBuilder(head)
	if closed {
		b.Section("all", plan.Bracket)
	}
	for l := range lanes {
		options := []plan.Option{plan.InLane(head.Lanes[l].ID)}
		if closed {
			options = append(options, plan.In("all"))
		}
		last := plan.Literal("")
		for s := range steps {
			id := plan.StepID(fmt.Sprintf("noop-%d:%s", s, head.Lanes[l].ID))
			last = plan.Add(b, noop, id, nothing{Name: string(id), From: last}, append(options, plan.Title("do nothing, number %d", s))...)
		}
	}
	if closed {
		plan.Add(b, noop, "last", nothing{}, plan.Closes("all"))
	}
	return b.Build()
}

// recorder keeps what is committed.
type recorder struct {
	runner.Journal
	entries []journal.Entry
}

func (r *recorder) Commit(e []journal.Entry, done func(error)) {
	r.entries = append(r.entries, e...)
	r.Journal.Commit(e, done)
}

// execute runs the plan with a journal of its own and returns how long the
// runner took, and what it committed.
func (b *bench) execute(p *plan.Plan, record bool) (time.Duration, []journal.Entry, error) {
	dir, err := os.MkdirTemp(b.dir, "engine-")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	store, err := journal.OpenStore(dir)
	if err != nil {
		return 0, nil, err
	}
	run, err := store.Begin(journal.Meta{Run: "bench", BootID: "boot"}, p)
	if err != nil {
		return 0, nil, err
	}
	defer run.Close()
	c := runner.Config{Plan: p, Run: "bench", Records: run.Records(), Journal: run, Handlers: handlers(), BootID: "boot"}
	rec := &recorder{Journal: run}
	if record {
		c.Journal = rec
	}
	runtime.GC()
	began := time.Now()
	res := runner.Execute(context.Background(), c)
	took := time.Since(began)
	if res.Outcome != journal.RunDone {
		return took, nil, fmt.Errorf("the run ended as %s: %v %v", res.Outcome, res.Err, res.Failures)
	}
	return took, rec.entries, nil
}

// engine measures no-op steps against the floor of the same records, by turns.
func engine(_ context.Context, b *bench) error {
	for _, shape := range []struct {
		name         string
		lanes, steps int
		times        float64 // of the floor's time
	}{
		{"chain of 100", 1, 100, 1 / 0.9},
		{"8 lanes of 10", 8, 10, 1.3},
		{"fan-out of 1,000", 1000, 1, 2},
	} {
		p, err := chains(shape.lanes, shape.steps, false)
		if err != nil {
			return err
		}
		_, entries, err := b.execute(p, true)
		if err != nil {
			return err
		}
		lanes := byLane(p, entries)
		var ours, bare []float64
		for range 3 * b.reps {
			took, err := replay(b.dir, lanes)
			if err != nil {
				return err
			}
			bare = append(bare, millis(took))
			if took, _, err = b.execute(p, false); err != nil {
				return err
			}
			ours = append(ours, millis(took))
		}
		basis := fmt.Sprintf("%.2f × %s ms, the same records without an engine", shape.times, number(median(bare)))
		b.most("engine", shape.name, "ms", ours, median(bare)*shape.times, basis)
		if shape.lanes == 1 {
			rate := func(ms []float64) (out []float64) {
				for _, m := range ms {
					out = append(out, float64(shape.steps)/m*1000)
				}
				return out
			}
			b.least("engine", shape.name, "steps/s", rate(ours), median(rate(bare))*0.9, fmt.Sprintf("0.9 × %s steps/s of the floor", number(median(rate(bare)))))
		}
	}
	return nil
}

// linear compares the cost of a step in a plan of 100,000 with that in one of
// 1,000: compiled, validated, journalled and run.
func linear(_ context.Context, b *bench) error {
	sizes := []int{1_000, 10_000, 100_000}
	cost, heap := map[int][]float64{}, map[int][]float64{}
	for _, n := range sizes {
		for range max(5, 50_000/n) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			p, err := chains(n/10, 10, true)
			if err != nil {
				return err
			}
			p.Digest()
			compiled := time.Since(began)
			ran, _, err := b.execute(p, false)
			if err != nil {
				return err
			}
			runtime.ReadMemStats(&after)
			cost[n] = append(cost[n], float64((compiled+ran).Nanoseconds())/1000/float64(n))
			heap[n] = append(heap[n], float64(after.TotalAlloc-before.TotalAlloc)/1024/float64(n))
		}
	}
	for _, n := range sizes[1:] {
		b.most("linear", fmt.Sprintf("compile, validate and run %d steps", n), "µs/step", cost[n], 1.2*median(cost[1000]), "1.2 × that of 1,000 steps")
		b.most("linear", fmt.Sprintf("allocated for %d steps", n), "KiB/step", heap[n], 1.2*median(heap[1000]), "1.2 × that of 1,000 steps")
	}
	return nil
}

// dying is a journal that takes no more after a number of done steps, as if
// the process had been killed.
type dying struct {
	runner.Journal
	left int
}

func (d *dying) Commit(e []journal.Entry, done func(error)) {
	for _, x := range e {
		if x.Record.State == journal.Done {
			d.left--
		}
	}
	if d.left < 0 {
		done(errors.New("the process is dead"))
		return
	}
	d.Journal.Commit(e, done)
}

// resume measures the time from opening the journal of a run of 10,000 steps,
// killed at 90 %, to its first new step.
func resume(_ context.Context, b *bench) error {
	const steps = 10_000
	p, err := chains(steps/10, 10, false)
	if err != nil {
		return err
	}
	var took []float64
	for range b.reps {
		ms, err := b.resumeOnce(p, steps*9/10)
		if err != nil {
			return err
		}
		took = append(took, ms)
	}
	b.most("resume", "10,000 steps killed at 90 %, to the first new step", "ms", took, 2000, "2 s")
	return nil
}

func (b *bench) resumeOnce(p *plan.Plan, done int) (float64, error) {
	dir := filepath.Join(b.dir, "resume")
	defer os.RemoveAll(dir)
	store, err := journal.OpenStore(dir)
	if err != nil {
		return 0, err
	}
	run, err := store.Begin(journal.Meta{Run: "bench", BootID: "boot"}, p)
	if err != nil {
		return 0, err
	}
	c := runner.Config{Plan: p, Run: "bench", Records: run.Records(), Journal: &dying{run, done}, Handlers: handlers(), BootID: "boot"}
	res := runner.Execute(context.Background(), c)
	if err := run.Close(); err != nil || res.Err == nil {
		return 0, fmt.Errorf("the run did not die: %s %v", res.Outcome, err)
	}

	runtime.GC()
	began := time.Now()
	run, err = store.Resume("bench")
	if err != nil {
		return 0, err
	}
	defer run.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var first time.Time
	h := plan.Handlers{}
	plan.Bind(h, noop, plan.Funcs[nothing, string]{
		Do: func(_ context.Context, _ plan.Attempt, in nothing) (string, error) {
			if first.IsZero() {
				first = time.Now()
				cancel()
			}
			return in.Name, nil
		},
	})
	runner.Execute(ctx, runner.Config{Plan: run.Plan(), Run: "bench", Records: run.Records(), Journal: run, Handlers: h, BootID: "boot", Workers: 1})
	if first.IsZero() {
		return 0, errors.New("no step began")
	}
	return millis(first.Sub(began)), nil
}
