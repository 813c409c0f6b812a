package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

const drillProbe = "200ms" // what the probe takes

// drill measures `run verify` of 4 volumes, with latencies like EC2's, against the sum of the latencies along one lane and the
// same mounts, checks and probe by hand, all volumes side by side.
func drill(ctx context.Context, b *bench) error {
	const volumes = 4
	l := sandbox.Latency{Request: 50 * time.Millisecond, Create: 3 * time.Second, Attach: 2 * time.Second, Detach: time.Second, Lag: 500 * time.Millisecond}
	m, err := b.newMachine(ctx, volumes, 1, "ext4")
	if err != nil {
		return err
	}
	defer m.remove()
	text, err := os.ReadFile(m.settings())
	if err != nil {
		return err
	}
	text = append(bytes.TrimSuffix(text, []byte("}\n")), "  verify {\n    probe = [\"/bin/sleep\", \"0.2\"]\n  }\n}\n"...)
	if err := os.WriteFile(m.settings(), text, 0o600); err != nil {
		return err
	}
	if err := m.stockUp(); err != nil {
		return err
	}
	m.poll = ec2.DefaultPollMin.String()
	// Two questions to the metadata service, the device names that are taken, DescribeSnapshots; CreateVolume until it is available, and
	// AttachVolume until it is attached, each with the describe that shows it; DetachVolume until it is detached, with its describe;
	// DeleteVolume; CreateTags and DeleteTags. ModifyInstanceAttribute goes beside the mounts.
	lane := 13*l.Request + l.Create + l.Attach + l.Detach
	var took, bares []float64
	for range 5 {
		if err := ctx.Err(); err != nil {
			return err
		}
		bare, err := m.bareDrill(ctx, volumes)
		if err != nil {
			return err
		}
		if err := m.slow(l); err != nil {
			return err
		}
		c, err := m.run("run", "verify", "db")
		if err != nil {
			return err
		}
		took, bares = append(took, millis(c.took)), append(bares, millis(bare))
	}
	b.most("drill", "drill of 4 volumes", "ms", took, 1.1*(millis(lane)+median(bares)),
		fmt.Sprintf("1.10 × (%s ms, the latencies along one lane + %s ms bare mounts, checks and probe of %s)", number(millis(lane)), number(median(bares)), drillProbe))
	return m.lose(ctx)
}

// bareDrill does to new file systems what a drill does to restored ones, without anything around it.
func (m *machine) bareDrill(ctx context.Context, volumes int) (time.Duration, error) {
	dir := filepath.Join(m.dir, "bare")
	defer os.RemoveAll(dir)
	var devices []string
	defer func() {
		for _, d := range devices {
			_ = exec.Command("losetup", "-d", d).Run()
		}
	}()
	for i := range volumes {
		image, at := filepath.Join(dir, fmt.Sprint(i, ".img")), filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return 0, err
		}
		made, err := exec.CommandContext(ctx, "sh", "-c", `truncate -s 1G "$1" && mkfs.ext4 -q -F "$1" && losetup -f --show "$1"`, "sh", image).Output()
		if err != nil {
			return 0, fmt.Errorf("a bare file system: %w", err)
		}
		devices = append(devices, strings.TrimSpace(string(made)))
	}
	began := time.Now()
	var all errgroup.Group
	for i, d := range devices {
		all.Go(func() error {
			out, err := exec.CommandContext(ctx, "sh", "-c", `mount "$1" "$2" && umount "$2" && e2fsck -f -n "$1" && mount -o ro "$1" "$2"`,
				"sh", d, filepath.Join(dir, fmt.Sprint(i))).CombinedOutput()
			if err != nil {
				return fmt.Errorf("a bare drill: %w: %s", err, out)
			}
			return nil
		})
	}
	err := all.Wait()
	if err == nil {
		err = exec.CommandContext(ctx, "/bin/sleep", "0.2").Run()
	}
	for i := range devices {
		_ = exec.Command("umount", filepath.Join(dir, fmt.Sprint(i))).Run()
	}
	return time.Since(began), err
}
