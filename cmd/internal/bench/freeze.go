package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/plan/units"
)

// freeze measures how long writers are blocked while eight volumes are
// snapshotted under load, against one round trip of the call plus a bare
// parallel freeze and thaw of the same file systems, by turns.
func freeze(ctx context.Context, b *bench) error { return b.freeze(ctx, false) }

// expedite is freeze with freeze_expedite.
func expedite(ctx context.Context, b *bench) error {
	return b.freeze(ctx, true, "freeze_expedite = true")
}

func (b *bench) freeze(ctx context.Context, expedite bool, settings ...string) error {
	m, err := b.newMachine(ctx, 8, 1, "ext4", settings...)
	if err != nil {
		return err
	}
	defer m.remove()
	// A thread in a system call keeps its P until sysmon notices, which may take 10 ms: with fewer Ps than writers and
	// freezes these would wait for one another, and not for the kernel.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2*len(m.mounts) + 4))
	return m.freezes(ctx, expedite)
}

func (m *machine) freezes(ctx context.Context, expedite bool) error {
	if _, err := m.run("run", "mount", "db"); err != nil {
		return err
	}
	for _, latency := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		if err := m.slow(sandbox.Latency{Request: latency}); err != nil {
			return err
		}
		var windows, limits, trips, bares []float64
		for range m.windows {
			if err := ctx.Err(); err != nil {
				return err
			}
			w, err := m.window(ctx, expedite)
			if err != nil {
				return err
			}
			windows, trips, bares = append(windows, w.held), append(trips, w.trip), append(bares, w.bare)
			if expedite {
				limits = append(limits, w.trip+5)
			} else {
				limits = append(limits, w.trip+w.bare)
			}
		}
		name, basis := fmt.Sprintf("8 volumes, API %s", units.Took(latency)), fmt.Sprintf("1.10 × (%s ms the call + %s ms bare freeze and thaw)", number(median(trips)), number(median(bares)))
		if expedite {
			name, basis = name+", expedited", fmt.Sprintf("1.10 × (%s ms the call + 5 ms; a bare freeze takes %s ms)", number(median(trips)), number(median(bares)))
		}
		m.most("freeze", name, "ms", windows, 1.1*median(limits), basis)
	}
	if err := m.slow(sandbox.Latency{}); err != nil {
		return err
	}
	return m.lose(ctx)
}

// roundTrip is one CreateSnapshots of the same volumes by a warm client, and
// nothing frozen.
func (m *machine) roundTrip(ctx context.Context) (time.Duration, error) {
	self, err := m.client.Metadata().Identity(ctx)
	if err != nil {
		return 0, err
	}
	if err := m.client.Warm(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = m.client.CreateSnapshots(ctx, ec2.CreateSnapshotsRequest{InstanceID: self.InstanceID, ExcludeBoot: true})
	return time.Since(began), err
}

// window is one freeze, in milliseconds: how long writers were held up, a
// round trip of the call, and the bare freeze.
type window struct{ held, trip, bare float64 }

func (m *machine) window(ctx context.Context, expedite bool) (w window, err error) {
	stop := m.writers()
	time.Sleep(settleWriters)
	bare, err := m.bareFreeze(expedite)
	stop()
	if err != nil {
		return w, err
	}
	stop = m.writers()
	time.Sleep(settleWriters)
	_, err = m.run("run", "snapshot", "db")
	held := stop()
	if err != nil {
		return w, err
	}
	trip, err := m.roundTrip(ctx) // last: writes to what a snapshot shares are slower
	if err != nil {
		return w, err
	}
	w.held, w.bare, w.trip = millis(held), millis(bare), millis(trip)
	return w, m.deleteSnapshots(ctx)
}

// settleWriters is how long the load is on before a freeze. It also lets the
// file systems' semaphores forget the last freeze: one soon after another
// finds them still waiting out their grace period (kernel/rcu/sync.c).
const settleWriters = 200 * time.Millisecond

// writers write 4 KiB every millisecond to each volume, timestamping. The
// function returned stops them and tells from when to when they were held up:
// each writer's longest write, the first moment of all to the last.
func (m *machine) writers() func() time.Duration {
	over := make(chan struct{})
	type stall struct{ from, to time.Time }
	stalls := make([]stall, len(m.mounts))
	var all sync.WaitGroup
	for i, at := range m.mounts {
		all.Go(func() {
			f, err := os.OpenFile(filepath.Join(at, "load"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				return
			}
			defer f.Close()
			block := make([]byte, 4096)
			for n := int64(0); ; n++ {
				select {
				case <-over:
					return
				default:
				}
				from := time.Now()
				_, _ = f.WriteAt(block, n%256*4096)
				to := time.Now()
				if s := &stalls[i]; to.Sub(from) > s.to.Sub(s.from) {
					*s = stall{from, to}
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() time.Duration {
		close(over)
		all.Wait()
		first, last := stalls[0].from, stalls[0].to
		for _, s := range stalls {
			if s.from.Before(first) {
				first = s.from
			}
			if s.to.After(last) {
				last = s.to
			}
		}
		return last.Sub(first)
	}
}

func (m *machine) syncAll() {
	var all sync.WaitGroup
	for _, at := range m.mounts {
		all.Go(func() {
			if d, err := os.Open(at); err == nil {
				_ = unix.Syncfs(int(d.Fd()))
				d.Close()
			}
		})
	}
	all.Wait()
}

func (m *machine) deleteSnapshots(ctx context.Context) error {
	snaps, err := m.client.Snapshots(ctx, ec2.SnapshotQuery{})
	if err != nil {
		return err
	}
	for _, s := range snaps {
		if err := m.client.DeleteSnapshot(ctx, s.ID); err != nil {
			return err
		}
	}
	return nil
}

// FIFREEZE and FITHAW of include/uapi/linux/fs.h.
const fiFreeze, fiThaw = 0xC0045877, 0xC0045878

// expedited makes RCU grace periods short (kernel/rcu/update.c).
const expedited = "/sys/kernel/rcu_expedited"

// bareFreeze syncs, and then freezes and thaws all at once.
func (m *machine) bareFreeze(expedite bool) (time.Duration, error) {
	if expedite {
		before, err := os.ReadFile(expedited)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(expedited, []byte("1"), 0); err != nil {
			return 0, err
		}
		defer func() { _ = os.WriteFile(expedited, before, 0) }()
	}
	m.syncAll()
	return freezeAndThaw(m.mounts)
}

// freezeAndThaw freezes the file systems, a thread each, and then thaws them.
// A thaw follows each freeze whatever happened.
func freezeAndThaw(mounts []string) (time.Duration, error) {
	var dirs []*os.File
	for _, at := range mounts {
		d, err := os.Open(at)
		if err != nil {
			return 0, err
		}
		defer d.Close()
		dirs = append(dirs, d)
	}
	errs := make([]error, len(dirs))
	var frozen, thawed sync.WaitGroup
	thaw := make(chan struct{})
	frozen.Add(len(dirs))
	began := time.Now()
	for i, d := range dirs {
		thawed.Go(func() {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), fiFreeze, 0)
			frozen.Done()
			<-thaw
			if errno != 0 {
				errs[i] = fmt.Errorf("cannot freeze %s: %w", d.Name(), errno)
				return
			}
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), fiThaw, 0); errno != 0 {
				errs[i] = fmt.Errorf("cannot thaw %s: %w", d.Name(), errno)
			}
		})
	}
	frozen.Wait()
	close(thaw)
	thawed.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return took, err
		}
	}
	return took, nil
}
