package main

import (
	"context"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// boot measures the mount of 16 volumes restored from their snapshots, with
// latencies like EC2's, against the sum of the latencies along one lane.
func boot(ctx context.Context, b *bench) error {
	const volumes = 16
	l := sandbox.Latency{Request: 50 * time.Millisecond, Create: 3 * time.Second, Attach: 2 * time.Second, Lag: 500 * time.Millisecond}
	m, err := b.newMachine(ctx, volumes, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	if err := m.stockUp(); err != nil {
		return err
	}
	m.poll = ec2.DefaultPollMin.String() // a sandbox's client has a shorter one of its own
	// Two questions to the metadata service, DescribeVolumes, DescribeSnapshots,
	// CreateVolume, until it is available, the describe that shows it,
	// AttachVolume, until it is attached, the describe that shows it. The lag
	// is over by then.
	lane := 2*l.Request + 2*l.Request + l.Request + l.Create + l.Request + l.Request + l.Attach + l.Request
	var ms, peak, describes []float64
	for range 5 {
		if err := m.lose(ctx); err != nil {
			return err
		}
		if err := m.slow(l); err != nil {
			return err
		}
		c, err := m.run("run", "mount", "db")
		if err != nil {
			return err
		}
		ms, peak = append(ms, millis(c.took)), append(peak, c.peak)
		describes = append(describes, float64(c.calls["DescribeVolumes"]+c.calls["DescribeSnapshots"]+c.calls["DescribeInstances"]))
	}
	basis := fmt.Sprintf("1.10 × %s ms, the latencies along one lane", number(millis(lane)))
	b.most("boot", "mount of 16 volumes from snapshots", "ms", ms, 1.1*millis(lane), basis)
	b.most("boot", "describes in it", "calls", describes, float64(ticks(l.Create)+ticks(l.Attach)+4), "the poller's ticks while one volume is made and attached, and 4 looks")
	b.most("boot", "peak memory of it", "MiB", peak, 48, "48 MiB")
	return m.lose(ctx)
}

// ticks is how often the poller may look within a wait: it begins at the
// shortest pause and grows to a tenth of what passed, give or take a quarter.
func ticks(wait time.Duration) int {
	return int(wait/(ec2.DefaultPollMin*3/4)) + 1
}

// stockUp makes the volumes, and snapshots of them to restore from.
func (m *machine) stockUp() error {
	for _, op := range []string{"mount", "snapshot"} {
		if _, err := m.run("run", op, "db"); err != nil {
			return err
		}
	}
	return nil
}

// calls counts EC2's API calls per operation.
func calls(ctx context.Context, b *bench) error {
	for _, n := range []int{1, 4, 16} {
		if err := b.callsOf(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) callsOf(ctx context.Context, n int) error {
	m, err := b.newMachine(ctx, n, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	count := func(name string, limit, times int, basis string, args ...string) error {
		var calls []float64
		for range times {
			c, err := m.run(args...)
			if err != nil {
				return err
			}
			calls = append(calls, float64(c.total()))
		}
		b.most("calls", fmt.Sprintf("%s, N = %d", name, n), "calls", calls, float64(limit), basis)
		return nil
	}
	describes := 12 // ticks, looks and questions for permissions, whatever N is
	if err := count("mount, new volumes", 3*n+describes, 1, "3 N + 12", "run", "mount", "db"); err != nil {
		return err
	}
	if err := count("snapshot", n+describes, 1, "N + 12", "run", "snapshot", "db"); err != nil {
		return err
	}
	if err := count("mount of what is mounted", 3, 5, "3", "run", "mount", "db"); err != nil {
		return err
	}
	if err := count("unmount", 2*n+describes, 1, "2 N + 12", "run", "unmount", "db"); err != nil {
		return err
	}
	if err := m.deleteVolumes(ctx); err != nil {
		return err
	}
	if err := count("mount, from snapshots", 3*n+describes, 1, "3 N + 12", "run", "mount", "db"); err != nil {
		return err
	}
	return m.lose(ctx)
}
