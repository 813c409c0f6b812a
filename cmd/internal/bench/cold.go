package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"snaptastic/journal"
)

// cold measures starts from nothing.
func cold(ctx context.Context, b *bench) error {
	info, err := os.Stat(b.bin)
	if err != nil {
		return err
	}
	b.most("cold", "binary", "MB", []float64{float64(info.Size()) / 1e6}, 20, "20 MB, stripped")

	version, err := b.repeat(3*b.reps, func() (cost, error) { return timed(exec.Command(b.bin, "version")) })
	if err != nil {
		return err
	}
	b.most("cold", "version", "ms", version, 10, "10 ms")

	state := filepath.Join(b.dir, "past")
	if err := pastRuns(state, 1000); err != nil {
		return err
	}
	status, err := b.repeat(3*b.reps, func() (cost, error) { return timed(exec.Command(b.bin, "--state-dir", state, "status")) })
	if err != nil {
		return err
	}
	b.most("cold", "status with 1,000 past runs", "ms", status, 30, "30 ms")
	return b.noop(ctx)
}

// noop measures mounting what is mounted.
func (b *bench) noop(ctx context.Context) error {
	m, err := b.newMachine(ctx, 1, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	if _, err := m.run("run", "mount", "db"); err != nil {
		return err
	}
	again, err := b.repeat(3*b.reps, func() (cost, error) { return m.run("run", "mount", "db") })
	if err != nil {
		return err
	}
	b.most("cold", "run mount of what is mounted", "ms", again, 60, "60 ms")
	_, err = m.run("run", "unmount", "db")
	return err
}

func (b *bench) repeat(n int, f func() (cost, error)) (ms []float64, err error) {
	for range n {
		c, err := f()
		if err != nil {
			return nil, err
		}
		ms = append(ms, millis(c.took))
	}
	return ms, nil
}

// pastRuns makes one ended run and copies it.
func pastRuns(state string, n int) error {
	store, err := journal.OpenStore(state)
	if err != nil {
		return err
	}
	p, err := chains(4, 10, true)
	if err != nil {
		return err
	}
	began := time.Now().Add(-time.Hour)
	first := journal.NewRunID(began)
	run, err := store.Begin(journal.Meta{Run: first, BootID: "boot", Created: began}, p)
	if err != nil {
		return err
	}
	meta := run.Meta()
	meta.Outcome, meta.Ended = journal.RunDone, began.Add(time.Minute)
	if err := run.SetMeta(meta); err != nil {
		return err
	}
	if err := run.Close(); err != nil {
		return err
	}
	for i := range n - 1 {
		id := journal.NewRunID(began.Add(time.Duration(i+1) * time.Second))
		for _, ext := range []string{".db", ".json"} {
			body, err := os.ReadFile(filepath.Join(state, "runs", string(first)+ext))
			if err != nil {
				return err
			}
			if ext == ".json" {
				body = bytes.ReplaceAll(body, []byte(first), []byte(id))
			}
			if err := os.WriteFile(filepath.Join(state, "runs", string(id)+ext), body, 0o600); err != nil {
				return err
			}
		}
	}
	runs, err := store.List()
	if err == nil && len(runs) != n {
		err = fmt.Errorf("%d runs were made instead of %d", len(runs), n)
	}
	return err
}
