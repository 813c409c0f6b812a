package journal

import (
	"fmt"
	"testing"

	bolt "go.etcd.io/bbolt"

	"snaptastic/plan"
)

// transactions is how many have been committed to the file so far.
func transactions(tb testing.TB, j *Journal) int {
	tb.Helper()
	var id int
	if err := j.db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		tb.Fatal(err)
	}
	return id
}

func benchRun(tb testing.TB) *Run {
	tb.Helper()
	s, err := OpenStore(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	b := plan.NewBuilder(plan.Plan{ResumePolicy: plan.ResumeAnyBoot})
	plan.Add(b, plan.Def[string, string]{Kind: "x", ObserveBy: plan.ByToken, Scope: plan.Cloud}, "step", "in")
	p, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	run, err := s.Begin(Meta{Run: "bench"}, p)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = run.Close() })
	return run
}

func TestQueuedRecordsShareATransaction(t *testing.T) {
	run := benchRun(t)
	if err := run.Write(Entry{Step: "step", Record: &Record{State: Started}}); err != nil {
		t.Fatal(err)
	}
	before := transactions(t, run.Journal)
	busy, queued, done := make(chan struct{}), make(chan struct{}), make(chan error, 50)
	run.Commit([]Entry{{Step: "step", Record: &Record{State: Started}}}, func(error) { close(busy); <-queued })
	<-busy // the writer is in the callback of its first transaction
	for i := range 50 {
		run.Commit([]Entry{{Step: "step", Record: &Record{State: Done, Attempts: i}}}, func(err error) { done <- err })
	}
	close(queued)
	for range 50 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := transactions(t, run.Journal) - before; n != 2 {
		t.Errorf("51 writes took %d transactions, want 2", n)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, together := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(together), func(b *testing.B) {
			run := benchRun(b)
			var entries []Entry
			for range together {
				entries = append(entries, Entry{Step: "step", Record: &Record{State: Started, Generation: 1, Token: "0123456789abcdef0123456789abcdef"}})
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := run.Write(entries...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
