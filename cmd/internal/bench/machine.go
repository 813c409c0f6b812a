package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/ec2/sandbox"
)

// A machine is the built program on this host, with a sandbox served by this
// process in place of EC2.
type machine struct {
	*bench
	dir    string
	server *sandbox.Server
	client *ec2.Client
	mounts []string
	poll   string // the program's shortest pause between describes; "" for its default
}

// newMachine makes an empty world for a number of volumes of some GiB each.
func (b *bench) newMachine(ctx context.Context, volumes, gib int, fs string, more ...string) (*machine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root: it mounts and freezes")
	}
	dir, err := os.MkdirTemp(b.dir, "machine-")
	if err != nil {
		return nil, err
	}
	m := &machine{bench: b, dir: dir}
	if m.server, err = sandbox.Serve(ctx, sandbox.Config{Dir: m.sandbox()}, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	url := m.server.URL()
	m.client, err = ec2.New(ctx, ec2.Config{Region: sandbox.Region, EndpointURL: url, MetadataURL: url,
		Credentials: ec2.Credentials{ID: "bench", Secret: "bench"}, PollMin: 10 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	var hcl strings.Builder
	fmt.Fprintf(&hcl, "%s\nsnapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n", strings.Join(more, "\n"))
	for i := range volumes {
		at := filepath.Join(dir, "mnt", strconv.Itoa(i))
		m.mounts = append(m.mounts, at)
		fmt.Fprintf(&hcl, "  volume \"/dev/sd%c\" {\n    mount_point = %q\n    size = %d\n    file_system = %q\n  }\n", 'f'+i, at, gib, fs)
	}
	hcl.WriteString("}\n")
	return m, os.WriteFile(m.settings(), []byte(hcl.String()), 0o600)
}

func (m *machine) sandbox() string  { return filepath.Join(m.dir, "sandbox") }
func (m *machine) settings() string { return filepath.Join(m.dir, "snaptastic.hcl") }

// remove takes away all that the machine made: its mounts, devices and files.
func (m *machine) remove() {
	err := m.server.Close()
	if err = errors.Join(err, sandbox.Reset(m.sandbox())); err == nil {
		err = os.RemoveAll(m.dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: cannot clean up:", err)
	}
}

// slow sets how long the sandbox's things take.
func (m *machine) slow(l sandbox.Latency) error { return sandbox.SetFaults(m.sandbox(), l) }

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(m.bin, append([]string{"--settings", m.settings(), "--state-dir", filepath.Join(m.dir, "state"),
		"--sandbox=" + m.sandbox(), "--endpoint-url", m.server.URL(), "--yes"}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=dumb")
	if m.poll != "" {
		cmd.Env = append(cmd.Env, "SNAPTASTIC_POLL="+m.poll)
	}
	return cmd
}

// A cost is what one command took.
type cost struct {
	took  time.Duration
	peak  float64 // MiB resident
	calls map[string]int
}

// total is the number of calls of EC2's API; the metadata service is the
// instance's own.
func (c cost) total() (n int) {
	for _, k := range c.calls {
		n += k
	}
	return n
}

// run runs the program to its end and wants it to succeed.
func (m *machine) run(args ...string) (cost, error) {
	before, err := sandbox.Log(m.sandbox())
	if err != nil {
		return cost{}, err
	}
	c, err := timed(m.command(args...))
	if err != nil {
		return c, err
	}
	after, err := sandbox.Log(m.sandbox())
	c.calls = map[string]int{}
	for _, call := range after[len(before):] {
		if call.Service == "ec2" {
			c.calls[call.Action]++
		}
	}
	return c, err
}

// timed runs a command, from before its start to its end, and watches its
// peak memory. wait4's maxrss would tell this process's own: it survives exec
// (fs/exec.c, setmax_mm_hiwater_rss).
func timed(cmd *exec.Cmd) (c cost, err error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return c, err
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-over:
			c.took = time.Since(began)
			if err != nil {
				err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out.String())
			}
			return c, err
		case <-tick.C:
			c.peak = max(c.peak, highWater(status))
		}
	}
}

func highWater(status string) float64 {
	body, err := os.ReadFile(status)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(body), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 64)
	return kib / 1024
}

// lose unmounts and deletes the volumes, as the end of an instance would.
func (m *machine) lose(ctx context.Context) error {
	if err := m.slow(sandbox.Latency{}); err != nil {
		return err
	}
	if _, err := m.run("run", "unmount", "db"); err != nil {
		return err
	}
	return m.deleteVolumes(ctx)
}

func (m *machine) deleteVolumes(ctx context.Context) error {
	vs, err := m.client.VolumesByTag(ctx, map[string]string{"role": "db"})
	if err != nil {
		return err
	}
	for _, v := range vs {
		if v.State != ebs.VolumeAvailable {
			continue
		}
		if err := m.client.DeleteVolume(ctx, v.ID); err != nil {
			return err
		}
	}
	return nil
}
