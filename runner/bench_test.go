package runner

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

// countingJournal is a journal that counts commits, each of which is at most one
// transaction: two fdatasync of bbolt.
type countingJournal struct {
	Journal
	commits atomic.Int64
	entries atomic.Int64
}

func (c *countingJournal) Commit(e []journal.Entry, done func(error)) {
	c.commits.Add(1)
	c.entries.Add(int64(len(e)))
	c.Journal.Commit(e, done)
}

// lanesOf is a plan of lanes, each a chain of steps of one kind.
func lanesOf(tb testing.TB, d plan.Def[in, string], lanes, steps int) *plan.Plan {
	tb.Helper()
	b := plan.NewBuilder(plan.Plan{Operation: "bench", ResumePolicy: plan.ResumeAnyBoot})
	for l := range lanes {
		last := plan.Literal("")
		for s := range steps {
			id := plan.StepID(fmt.Sprintf("%s-%d:%d", d.Kind, s, l))
			last = plan.Add(b, d, id, in{Name: string(id), From: last})
		}
	}
	p, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func idle() plan.Handlers {
	h := plan.Handlers{}
	nothing := plan.Funcs[in, string]{Do: func(_ context.Context, _ plan.Attempt, i in) (string, error) { return i.Name, nil }}
	plan.Bind(h, tokenDef, nothing)
	plan.Bind(h, readDef, nothing)
	return h
}

// runCounted runs a plan with a journal of its own and counts commits.
func runCounted(tb testing.TB, p *plan.Plan) *countingJournal {
	tb.Helper()
	store, err := journal.OpenStore(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	run, err := store.Begin(journal.Meta{Run: "bench"}, p)
	if err != nil {
		tb.Fatal(err)
	}
	defer run.Close()
	c := &countingJournal{Journal: run}
	if b, ok := tb.(*testing.B); ok {
		b.StartTimer()
		defer b.StopTimer()
	}
	res := Execute(context.Background(), Config{Plan: p, Run: "bench", Journal: c, Handlers: idle()})
	if res.Outcome != journal.RunDone {
		tb.Fatalf("%s: %v %v", res.Outcome, res.Err, res.Failures)
	}
	return c
}

func TestAStepCostsOneCommit(t *testing.T) {
	for _, tt := range []struct {
		name          string
		kind          plan.Def[in, string]
		lanes, steps  int
		least, commit int64 // commits
		entries       int64
	}{
		{"a chain: each outcome is written with the next one's intent", tokenDef, 1, 100, 101, 101, 200},
		{"a chain that only reads has no intents", readDef, 1, 100, 1, 100, 100},
		{"lanes side by side share commits or not, but never write twice", tokenDef, 8, 10, 11, 88, 160},
		{"what is ready together is one commit", tokenDef, 1000, 1, 2, 1001, 2000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := runCounted(t, lanesOf(t, tt.kind, tt.lanes, tt.steps))
			if n := c.commits.Load(); n < tt.least || n > tt.commit {
				t.Errorf("%d commits, want %d to %d", n, tt.least, tt.commit)
			}
			if n := c.entries.Load(); n != tt.entries {
				t.Errorf("%d records, want %d", n, tt.entries)
			}
		})
	}
}

func BenchmarkRun(b *testing.B) {
	for _, tt := range []struct{ lanes, steps int }{{1, 100}, {8, 10}, {1000, 1}, {1000, 10}} {
		b.Run(fmt.Sprintf("%dx%d", tt.lanes, tt.steps), func(b *testing.B) {
			p := lanesOf(b, tokenDef, tt.lanes, tt.steps)
			b.ReportAllocs()
			var commits int64
			b.StopTimer()
			for range b.N {
				commits += runCounted(b, p).commits.Load()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tt.lanes*tt.steps), "ns/step")
			b.ReportMetric(float64(commits)/float64(b.N), "commits")
		})
	}
}

// discardJournal is a journal that keeps nothing, beside the scheduler as the real
// one's writer is.
type discardJournal chan func(error)

func (f discardJournal) Commit(_ []journal.Entry, done func(error)) { f <- done }

// BenchmarkEngineAlone is what a step costs without the journal.
func BenchmarkEngineAlone(b *testing.B) {
	for _, tt := range []struct{ lanes, steps int }{{1, 100}, {1000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", tt.lanes, tt.steps), func(b *testing.B) {
			p := lanesOf(b, tokenDef, tt.lanes, tt.steps)
			f := make(discardJournal, 64)
			defer close(f)
			go func() {
				for done := range f {
					done(nil)
				}
			}()
			b.ReportAllocs()
			for b.Loop() {
				if res := Execute(context.Background(), Config{Plan: p, Run: "bench", Journal: f, Handlers: idle()}); res.Outcome != journal.RunDone {
					b.Fatal(res.Outcome, res.Err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tt.lanes*tt.steps), "ns/step")
		})
	}
}
