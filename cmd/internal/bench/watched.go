package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"snaptastic/ec2/sandbox"
)

// watchersAtOnce look on while a window is measured; one of them never reads.
const watchersAtOnce = 3

// watched measures freeze windows with watchers and with traces that are sent to a receiver that hangs, by turns with windows without either.
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
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connections, and nobody answers
	if err != nil {
		return err
	}
	defer hanging.Close()
	var alone, seen []float64
	for i := range 2 * m.windows {
		if err := ctx.Err(); err != nil {
			return err
		}
		stop, into := func() {}, &alone
		if i%4 == 1 || i%4 == 2 { // turns in both orders
			if stop, err = m.watchedAt("http://" + hanging.Addr().String()); err != nil {
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
	m.most("watched", fmt.Sprintf("8 volumes, API 20ms, %d watchers and telemetry", watchersAtOnce), "ms", seen, 1.02*median(alone), fmt.Sprintf("1.02 × %s ms without", number(median(alone))))
	return m.lose(ctx)
}

// watchedAt starts watchers and has traces sent to the receiver; the function returned ends both.
func (m *machine) watchedAt(receiver string) (stop func(), err error) {
	before, err := os.ReadFile(m.settings())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(m.settings(), fmt.Appendf(before, "telemetry {\n  otlp_endpoint = %q\n  timeout = \"1s\"\n}\n", receiver), 0o600); err != nil {
		return nil, err
	}
	end, err := m.watchers()
	if err != nil {
		return nil, err
	}
	return func() {
		end()
		_ = os.WriteFile(m.settings(), before, 0o600) // it was written a moment ago
	}, nil
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
