package main

import (
	"context"
	"fmt"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// restore measures the restore in place of 8 volumes, with latencies like EC2's, against an unmount of them and the sum of the
// latencies along one lane of a mount: what is taken off and put on goes side by side.
func restore(ctx context.Context, b *bench) error {
	const volumes = 8
	l := sandbox.Latency{Request: 50 * time.Millisecond, Create: 3 * time.Second, Attach: 2 * time.Second, Detach: time.Second, Lag: 500 * time.Millisecond}
	m, err := b.newMachine(ctx, volumes, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	if err := m.stockUp(); err != nil {
		return err
	}
	m.poll = ec2.DefaultPollMin.String()
	lane := 2*l.Request + 2*l.Request + l.Request + l.Create + l.Request + l.Request + l.Attach + l.Request // as in boot
	slowly := func(op string) (cost, error) {
		if err := m.slow(l); err != nil {
			return cost{}, err
		}
		c, err := m.run("run", op, "db")
		if err != nil {
			return c, err
		}
		if err := m.slow(sandbox.Latency{}); err != nil {
			return c, err
		}
		return c, m.deleteVolumes(ctx) // those that are detached
	}
	var restores, unmounts []float64
	for range 5 {
		c, err := slowly("restore")
		if err != nil {
			return err
		}
		restores = append(restores, millis(c.took))
		if c, err = slowly("unmount"); err != nil {
			return err
		}
		unmounts = append(unmounts, millis(c.took))
		if _, err := m.run("run", "mount", "db"); err != nil {
			return err
		}
	}
	limit := median(unmounts) + millis(lane)
	b.most("restore", "restore in place of 8 volumes", "ms", restores, 1.1*limit,
		fmt.Sprintf("1.10 × (%s ms an unmount of them + %s ms, the latencies along one lane of a mount)", number(median(unmounts)), number(millis(lane))))
	return m.lose(ctx)
}
