package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mkfs measures making a file system on a fresh 20 GiB volume and mounting it
// for the first time, as a lane does, against plain mkfs and mount of a device
// like it.
func mkfs(ctx context.Context, b *bench) error {
	for _, fs := range []string{"ext4", "xfs"} {
		m, err := b.newMachine(ctx, 1, 20, fs)
		if err != nil {
			return err
		}
		err = m.mkfsOf(ctx, fs)
		m.remove()
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) mkfsOf(ctx context.Context, fs string) error {
	var ours, plain []float64
	for range m.reps {
		if _, err := m.run("run", "mount", "db"); err != nil {
			return err
		}
		ms, err := m.formatted()
		if err != nil {
			return err
		}
		ours = append(ours, ms)
		if err := m.lose(ctx); err != nil {
			return err
		}
		if ms, err = m.plainFormat(fs); err != nil {
			return err
		}
		plain = append(plain, ms)
	}
	m.most("mkfs", "20 GiB "+fs+", made and mounted", "ms", ours, 1.1*median(plain), fmt.Sprintf("1.10 × %s ms of plain mkfs and mount", number(median(plain))))
	return nil
}

// formatted reads from the newest run how long its lane took from the device's
// appearance to the mount.
func (m *machine) formatted() (float64, error) {
	out, err := m.command("runs", "-o", "json").Output()
	if err != nil {
		return 0, err
	}
	var runs []struct{ Run string }
	if err := json.Unmarshal(out, &runs); err != nil {
		return 0, err
	}
	if out, err = m.command("show", runs[len(runs)-1].Run, "-o", "json").Output(); err != nil {
		return 0, err
	}
	var story struct {
		Steps []struct {
			ID      string    `json:"id"`
			Step    string    `json:"step"`
			EndedAt time.Time `json:"ended_at"`
			Ended   time.Time `json:"ended"`
		}
	}
	if err := json.Unmarshal(out, &story); err != nil {
		return 0, err
	}
	var device, mounted time.Time
	for _, s := range story.Steps {
		end := s.EndedAt
		if end.IsZero() {
			end = s.Ended
		}
		switch id := s.ID + s.Step; {
		case strings.HasPrefix(id, "wait-device:"):
			device = end
		case strings.HasPrefix(id, "mount:"):
			mounted = end
		}
	}
	if device.IsZero() || mounted.IsZero() {
		return 0, fmt.Errorf("the run's record does not tell when it mounted")
	}
	return millis(mounted.Sub(device)), nil
}

// plainFormat runs mkfs and mount on a new device like the volume's.
func (m *machine) plainFormat(fs string) (float64, error) {
	image, at := filepath.Join(m.sandbox(), "vol", "plain.img"), filepath.Join(m.dir, "plain")
	f, err := os.Create(image)
	if err != nil {
		return 0, err
	}
	defer os.Remove(image)
	if err := f.Truncate(20 << 30); err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	loop, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		return 0, err
	}
	device := strings.TrimSpace(string(loop))
	defer func() { _ = exec.Command("losetup", "-d", device).Run() }()
	if err := os.MkdirAll(at, 0o755); err != nil {
		return 0, err
	}
	args := map[string][]string{"ext4": {"-q", "-F", "-E", "nodiscard"}, "xfs": {"-q", "-f", "-K"}}[fs]
	began := time.Now()
	for _, cmd := range [][]string{append(append([]string{"mkfs." + fs}, args...), device), {"mount", "-t", fs, device, at}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w: %s", cmd[0], err, out)
		}
	}
	took := time.Since(began)
	return millis(took), exec.Command("umount", at).Run()
}
