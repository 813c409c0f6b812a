package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
)

// A volume of 10 GiB that was just restored, with a tenth of it in use: what each read of it costs, and its files.
const (
	warmDisk    = 10 << 30
	warmFile    = 8 << 20
	warmFiles   = 128 // 1 GiB
	warmLatency = 5 * time.Millisecond
)

// warm measures how soon a restored volume is at full speed, against what the device allows at that depth, and against reading all of it.
func warm(ctx context.Context, b *bench) error {
	d, err := newSlowDisk(b.dir, warmDisk)
	if err != nil {
		return err
	}
	err = b.warmOn(ctx, d)
	if err = errors.Join(err, d.remove()); err != nil {
		return err
	}
	return b.warmUnmount(ctx)
}

func (b *bench) warmOn(ctx context.Context, d *slowDisk) (err error) {
	if out, err := exec.Command("mkfs.ext4", "-q", "-E", "nodiscard", d.path).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs: %w: %s", err, out)
	}
	target := filepath.Join(b.dir, "warm")
	mount := func() error { return unix.Mount(d.path, target, "ext4", 0, "") }
	unmount := func() error { return unix.Unmount(target, 0) }
	if err := errors.Join(os.MkdirAll(target, 0o755), mount()); err != nil {
		return err
	}
	if err := errors.Join(fillVolume(target), unmount()); err != nil {
		return err
	}
	q := linux.WarmRequest{Target: target, Device: d.path, FileSystem: "ext4"}
	cold := func(ctx context.Context, q linux.WarmRequest) (took time.Duration, read int64, err error) { // what mounting reads is not part of it
		if err := mount(); err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, unmount()) }()
		d.each.Store(int64(warmLatency))
		defer d.each.Store(0)
		before, began := d.read.Load(), time.Now()
		_, err = linux.New(linux.Roots{}).Warm(ctx, q)
		return time.Since(began), d.read.Load() - before, err
	}
	limit := func(size int64, depth int) (float64, error) {
		d.each.Store(int64(warmLatency))
		defer d.each.Store(0)
		took, err := d.readAll(ctx, size, depth)
		return took.Seconds(), err
	}
	const inUse = warmFile * warmFiles
	var took, bytesRead, first, walk, floor []float64
	subset := q
	subset.Globs = []string{"wal/**"}
	for range max(b.reps/2, 3) {
		s, err := limit(inUse, linux.WarmDepth)
		if err != nil {
			return err
		}
		floor = append(floor, s)
		t, read, err := cold(ctx, q)
		if err != nil {
			return err
		}
		took, bytesRead = append(took, t.Seconds()), append(bytesRead, float64(read)/1e6)
		var reached time.Duration
		began := time.Now()
		subset.Progress = func(p linux.WarmProgress) {
			if reached == 0 && p.Done >= inUse/8 {
				reached = time.Since(began)
			}
		}
		if _, _, err := cold(ctx, subset); err != nil {
			return err
		}
		first = append(first, reached.Seconds())
		found, err := coldFind(d, mount, unmount, target)
		if err != nil {
			return err
		}
		walk = append(walk, found.Seconds())
	}
	s, err := limit(warmDisk, linux.WarmDepth)
	if err != nil {
		return err
	}
	whole := []float64{s}
	b.most("warm", "1 GiB in use of 10 GiB", "s", took, 1.15*median(floor), fmt.Sprintf("1.15 × %s s, reading 1 GiB at depth %d with nothing else", number(median(floor)), linux.WarmDepth))
	b.most("warm", "read for it", "MB", bytesRead, 1.1*inUse/1e6, "1.1 × what is in use")
	b.most("warm", "an eighth of it that matters, at full speed", "s", first, 1.15*(median(floor)/8+median(walk)), fmt.Sprintf("1.15 × (an eighth of the same + %s s, find over its files)", number(median(walk))))
	b.most("warm", "than the whole device at that depth", "s", took, median(whole)/8, fmt.Sprintf("⅛ × %s s, reading 10 GiB at depth %d", number(median(whole)), linux.WarmDepth))
	if err := b.warmTools(ctx, d, took); err != nil {
		return err
	}
	return b.warmCut(ctx, q, cold, inUse)
}

// warmTools puts dd and fio over the whole device beside it. dd reads a tenth, which counts ten times: it does one read at a time.
func (b *bench) warmTools(ctx context.Context, d *slowDisk, took []float64) error {
	d.each.Store(int64(warmLatency))
	defer d.each.Store(0)
	began := time.Now()
	if out, err := exec.CommandContext(ctx, "dd", "if="+d.path, "of=/dev/null", "bs=1M", "iflag=direct", fmt.Sprintf("count=%d", warmDisk>>20/10)).CombinedOutput(); err != nil {
		return fmt.Errorf("dd: %w: %s", err, out)
	}
	dd := 10 * time.Since(began).Seconds()
	b.most("warm", "than dd bs=1M", "s", took, dd/8, fmt.Sprintf("⅛ × %s s, ten times a tenth of the device", number(dd)))
	if _, err := exec.LookPath("fio"); err != nil {
		fmt.Fprintln(os.Stderr, "warm: fio is not installed: not compared with it")
		return nil
	}
	began = time.Now()
	if out, err := exec.CommandContext(ctx, "fio", "--name=warm", "--filename="+d.path, "--rw=read", "--bs=1M", fmt.Sprintf("--iodepth=%d", linux.WarmDepth),
		"--ioengine=libaio", "--direct=1", "--readonly").CombinedOutput(); err != nil {
		return fmt.Errorf("fio: %w: %s", err, out)
	}
	fio := time.Since(began).Seconds()
	b.most("warm", "than fio", "s", took, fio/8, fmt.Sprintf("⅛ × %s s, 10 GiB at depth %d", number(fio), linux.WarmDepth))
	return nil
}

// warmCut stops at half, as a kill does, and goes on from the last mark that the journal would have.
func (b *bench) warmCut(ctx context.Context, q linux.WarmRequest, cold func(context.Context, linux.WarmRequest) (time.Duration, int64, error), inUse int64) error {
	half := errors.New("half")
	cut, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var percent int64
	rest := q
	q.Progress = func(p linux.WarmProgress) {
		if now := p.Done * 100 / inUse; now > percent && cut.Err() == nil {
			percent, rest.From = now, p.WarmMark
			if now >= 50 {
				cancel(half)
			}
		}
	}
	_, first, err := cold(cut, q)
	if !errors.Is(err, half) {
		return fmt.Errorf("it was not cut off at half: %w", err)
	}
	_, second, err := cold(ctx, rest)
	b.most("warm", "read when killed at half", "MB", []float64{float64(first+second) / 1e6}, 1.05*float64(inUse)/1e6, "1.05 × what is in use")
	return err
}

// coldFind is what looking at the files that matter costs anybody.
func coldFind(d *slowDisk, mount, unmount func() error, target string) (took time.Duration, err error) {
	if err := mount(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	d.each.Store(int64(warmLatency))
	defer d.each.Store(0)
	began := time.Now()
	err = exec.Command("find", filepath.Join(target, "wal"), "-type", "f", "-size", "+0").Run()
	return time.Since(began), err
}

// fillVolume writes the files, an eighth of them into wal.
func fillVolume(target string) error {
	for i := range warmFiles {
		folder := filepath.Join(target, map[bool]string{true: "wal", false: "base"}[i%8 == 0])
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i | 1)}, warmFile), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// warmUnmount measures an unmount while a warming is under way that would take a minute.
func (b *bench) warmUnmount(ctx context.Context) error {
	m, err := b.newMachine(ctx, 1, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	hcl, err := os.ReadFile(m.settings())
	if err == nil {
		err = os.WriteFile(m.settings(), []byte(strings.Replace(string(hcl), "size = 1\n", "size = 1\n    warm = true\n    warm_rate = 1\n", 1)), 0o600)
	}
	if err == nil {
		_, err = m.run("run", "mount", "db")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(m.mounts[0], "file"), bytes.Repeat([]byte("x"), 64<<20), 0o600)
	}
	if err == nil {
		_, err = m.run("run", "snapshot", "db")
	}
	if err == nil {
		err = m.lose(ctx)
	}
	var took []float64
	for i := 0; i < b.reps && err == nil; i++ {
		var c cost
		if c, err = m.unmountWhileWarming(ctx); err == nil {
			took = append(took, millis(c.took))
		}
	}
	if err != nil {
		return err
	}
	b.most("warm", "run unmount while it reads", "ms", took, 1000, "1 s")
	return nil
}

func (m *machine) unmountWhileWarming(ctx context.Context) (c cost, err error) {
	if _, err := m.run("run", "mount", "db"); err != nil {
		return c, err
	}
	reads := m.command("run", "warm", "db")
	if err := reads.Start(); err != nil {
		return c, err
	}
	defer reads.Wait()
	sockets := filepath.Join(m.dir, "state", "warming")
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if found, _ := os.ReadDir(sockets); len(found) > 0 {
			break
		}
	}
	time.Sleep(200 * time.Millisecond) // until it reads
	if c, err = m.run("run", "unmount", "db"); err != nil {
		_ = reads.Process.Kill()
		return c, err
	}
	return c, m.deleteVolumes(ctx)
}
