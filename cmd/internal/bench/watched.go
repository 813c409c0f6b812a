package main

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"snaptastic/ec2/sandbox"
)

// watchersAtOnce look on while a window is measured; one of them never reads.
const watchersAtOnce = 3

// watched measures freeze windows with watchers and with events written to a file, by turns with windows that nobody watches.
func watched(ctx context.Context, b *bench) error {
	m, err := b.newMachine(ctx, 8, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	if _, err := m.run("run", "mount", "db"); err != nil {
		return err
	}
	if err := m.slow(sandbox.Latency{Request: 20 * time.Millisecond}); err != nil {
		return err
	}
	var alone, seen []float64
	for i := range 2 * m.windows {
		if err := ctx.Err(); err != nil {
			return err
		}
		stop, into := func() {}, &alone
		if i%4 == 1 || i%4 == 2 { // turns in both orders
			if stop, err = m.watchers(); err != nil {
				return err
			}
			into = &seen
		}
		w, err := m.window(ctx, false)
		stop()
		if err != nil {
			return err
		}
		*into = append(*into, w.held)
	}
	m.most("watched", fmt.Sprintf("8 volumes, API 20ms, %d watchers", watchersAtOnce), "ms", seen, 1.02*median(alone), fmt.Sprintf("1.02 × %s ms without", number(median(alone))))
	return m.lose(ctx)
}

// watchers starts them; the function returned ends them.
func (m *machine) watchers() (stop func(), err error) {
	var all []*exec.Cmd
	stop = func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	for i := range watchersAtOnce {
		c := m.command("status", "--watch", "-o", "jsonl")
		if err := c.Start(); err != nil {
			stop()
			return nil, err
		}
		all = append(all, c)
		if i == 0 {
			time.Sleep(settleWriters) // until it is at work
			err = c.Process.Signal(syscall.SIGSTOP)
		}
	}
	return stop, err
}
