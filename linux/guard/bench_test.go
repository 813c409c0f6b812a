package guard

import (
	"context"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkFreezeAndThaw measures a freeze and thaw of eight ext4 file systems by the guard beside the bare ioctls of
// the same file systems on threads of their own, by turns, and reports medians. The start of the guard is not in it
// but reported beside it.
func BenchmarkFreezeAndThaw(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkFreeze(b, false) })
	b.Run("expedited", func(b *testing.B) { benchmarkFreeze(b, true) })
}

func benchmarkFreeze(b *testing.B, expedite bool) {
	disks := makeDisks(b, "ext4", 8)
	owned := b.TempDir()
	knob, err := os.ReadFile(expeditedKnob)
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { _ = os.WriteFile(expeditedKnob, knob, 0) })
	var guarded, bare, start []time.Duration
	for b.Loop() {
		called := time.Now()
		g := startGuard(b, asMounts(disks), Options{OwnedDir: owned, Expedite: expedite})
		start = append(start, time.Since(called))
		betweenFreezes()
		began := time.Now()
		if err := g.Freeze(context.Background()); err != nil {
			b.Fatal(err)
		}
		if h, err := g.Thaw(context.Background()); err != nil || !h.Unbroken {
			b.Fatal(h, err)
		}
		guarded = append(guarded, time.Since(began))
		if err := g.Release(); err != nil {
			b.Fatal(err)
		}

		if expedite {
			_ = os.WriteFile(expeditedKnob, []byte("1"), 0)
		}
		betweenFreezes()
		bare = append(bare, bareFreeze(b, disks))
		_ = os.WriteFile(expeditedKnob, knob, 0)
	}
	m, n := median(guarded), median(bare)
	b.ReportMetric(float64(m.Microseconds())/1000, "guard-ms")
	b.ReportMetric(float64(n.Microseconds())/1000, "bare-ms")
	b.ReportMetric(float64(m)/float64(n), "ratio")
	b.ReportMetric(float64(median(start).Microseconds())/1000, "start-ms")
}

// betweenFreezes lets the file systems' read-write semaphores forget the last freeze: one soon after another finds them still
// waiting out their grace period (kernel/rcu/sync.c) and takes a hundredth of the time.
func betweenFreezes() { time.Sleep(150 * time.Millisecond) }

// bareFreeze freezes all, one thread each, and then thaws all.
func bareFreeze(b *testing.B, disks []disk) time.Duration {
	var dirs []*os.File
	for _, d := range disks {
		f, err := os.Open(d.path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		dirs = append(dirs, f)
	}
	start, thaw := make(chan struct{}), make(chan struct{})
	var frozen, done sync.WaitGroup
	for _, f := range dirs {
		fd := int(f.Fd())
		frozen.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			<-start
			if errno := freezeFS(fd); errno != 0 {
				b.Error(errno)
			}
			frozen.Done()
			<-thaw
			thawFS(fd)
		})
	}
	before := runtime.GOMAXPROCS(len(disks) + 4)
	defer runtime.GOMAXPROCS(before)
	began := time.Now()
	close(start)
	frozen.Wait()
	close(thaw)
	done.Wait()
	return time.Since(began)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
