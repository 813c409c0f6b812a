package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
)

// These tests run a real Temporal server on an SQLite file, the real snaptastic
// against its sandbox, and real freezes on loop devices. They need root, and the
// minutes that the server takes to build: make test-fleet asks for them.

const serverVersion = "v1.32.1"

func needFleet(t testing.TB) {
	t.Helper()
	if os.Getenv("SNAPTASTIC_FLEET") == "" {
		t.Skip("needs a Temporal server, which takes minutes to build: make test-fleet")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for loop devices, mounts and freezes")
	}
}

// builds are the folders that hold what was built, until all tests have ended.
var builds []string

func buildDir() (string, error) {
	dir, err := os.MkdirTemp("", "snaptastic-fleet-")
	builds = append(builds, dir)
	return dir, err
}

// programs are built once for all tests.
var programs = sync.OnceValues(func() (p struct{ snaptastic, fleet, server string }, err error) {
	if p.server, err = server(); err != nil {
		return p, err
	}
	dir, err := buildDir()
	if err != nil {
		return p, err
	}
	p.snaptastic, p.fleet = filepath.Join(dir, "snaptastic"), filepath.Join(dir, "snaptastic-fleet")
	if err := command("../../packaging/compile", p.snaptastic); err != nil {
		return p, err
	}
	return p, compileFleet(p.fleet)
})

// compileFleet makes the program as it is shipped.
func compileFleet(file string) error {
	return command("../../packaging/compile", file, "test", "snaptastic-fleet")
}

// server is built once for each version of it and of Go, and kept in the user's cache.
func server() (string, error) {
	if named := os.Getenv("SNAPTASTIC_TEMPORAL_SERVER"); named != "" {
		return named, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile("testdata/server/main.go")
	if err != nil {
		return "", err
	}
	file := filepath.Join(cache, "snaptastic", fmt.Sprintf("temporal-server-%s-%s-%08x", serverVersion, runtime.Version(), sum(source)))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if os.Getenv("SNAPTASTIC_FLEET") == "cached" {
		return "", fmt.Errorf("the Temporal server is not in the cache: there is no %s. SNAPTASTIC_FLEET=1 builds it, in minutes", file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	built, err := filepath.Abs(file + ".new")
	if err != nil {
		return "", err
	}
	c := exec.Command("go", "build", "-ldflags", "-s -w", "-o", built, ".")
	c.Dir = "testdata/server"
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the Temporal server: %w\n%s", err, out)
	}
	return file, os.Rename(built, file)
}

func sum(b []byte) (n uint32) {
	for _, c := range b {
		n = n*31 + uint32(c)
	}
	return n
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// A rig is a server, a control, and hosts: instances of one sandbox, each with a worker.
type rig struct {
	t          testing.TB
	dir        string
	port       int
	server     *process
	control    *process
	hosts      map[string]*testHost
	wires      map[string]*wire // what each worker reaches the server through
	lead, hold string           // of the cluster
	tls, more  string           // the server's certificates, and more lines for the server block
	declared   string           // more lines for the snapshotter of each host
	onControl  string           // control's block of fleet.hcl
	byTag      bool             // hosts are found by their tags, and called by their instances' ids
	namespaces string           // of the server; empty: "fleet"
	allow      string           // what hosts allow besides
	inVolume   string           // more lines of each host's volume
	inWorker   string           // more lines of each host's worker block, in which DIR is the host's folder
	inCluster  string           // more lines of the cluster
	region     string           // of the hosts that are added; empty: eu-west-1
	maxHold    string           // of the hosts; empty: the default, 10 s
}

type testHost struct {
	name, shard, mount string
	dir, region        string
	worker             *process
	spare              bool // drills run there
}

// A process of this test, ended with it.
type process struct {
	cmd *exec.Cmd
	out *syncBuffer
	end chan struct{}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (r *rig) spawn(name string, args ...string) *process {
	r.t.Helper()
	p := &process{cmd: exec.Command(name, args...), out: &syncBuffer{}, end: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.end) }()
	r.t.Cleanup(func() {
		p.kill()
		if r.t.Failed() {
			r.t.Logf("%s %s:\n%s", filepath.Base(name), strings.Join(args, " "), tail(p.out.String(), 30))
		}
	})
	return p
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.end
}

func (p *process) ended() bool {
	select {
	case <-p.end:
		return true
	default:
		return false
	}
}

func (p *process) working() bool { return strings.Contains(p.out.String(), "working on queue") }

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

func newRig(t testing.TB, shards int, edits ...func(*rig)) *rig {
	t.Helper()
	needFleet(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "snaptastic-fleet-rig-")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, port: freePorts(t), hosts: map[string]*testHost{}, wires: map[string]*wire{}}
	t.Cleanup(func() { r.clear(bin.snaptastic) })
	for _, edit := range edits {
		edit(r)
	}
	r.startServer()
	for i := range shards {
		r.addHost(fmt.Sprintf("h%d", i+1), fmt.Sprint(i+1))
	}
	r.onControl = fmt.Sprintf("control {\n  program = %q\n  args    = [\"--sandbox=%s/sandbox\", \"--state-dir=%s/control\"]\n}", bin.snaptastic, r.dir, r.dir)
	r.write("fleet.hcl", r.settings(r.onControl))
	r.startControl()
	return r
}

// ports are those that rigs of this test binary were given: a server listens some time later.
var ports sync.Map

// freePorts returns the first of eight ports in a row that nobody uses. They are below those that the kernel gives to outgoing
// connections, which would take one while a server that was killed is started again.
func freePorts(t testing.TB) int {
	t.Helper()
	for range 50 {
		port := 10000 + 8*rand.IntN(2500)
		_, given := ports.LoadOrStore(port, true)
		free := !given
		for n := port; free && n < port+8; n++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return port
		}
	}
	t.Fatal("no eight free ports in a row")
	return 0
}

func (r *rig) startServer() {
	r.t.Helper()
	bin, _ := programs()
	args := []string{"-file", r.dir + "/temporal.db", "-port", fmt.Sprint(r.port), "-namespaces", cmp.Or(r.namespaces, "fleet")}
	if r.tls != "" {
		args = append(args, "-tls", r.tls)
	}
	r.server = r.spawn(bin.server, args...)
	if r.tls != "" { // whether it answers is seen when the first worker works
		return
	}
	r.eventually("the server answers", func() bool {
		c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: cmp.Or(r.namespaces, "fleet"), Logger: quiet{}})
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.CheckHealth(context.Background(), &client.CheckHealthRequest{})
		return err == nil
	})
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

func (r *rig) address() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *rig) settings(more string) string { return r.settingsVia(r.address(), more) }

func (r *rig) settingsVia(address, more string) string {
	var cluster strings.Builder
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		kind := "host"
		if h.spare {
			kind = "spare"
		}
		fmt.Fprintf(&cluster, "  %s %q { shard = %q }\n", kind, h.name, h.shard)
	}
	if r.byTag {
		cluster.Reset()
		fmt.Fprint(&cluster, "  hosts {\n    tags      = { cluster = \"shards\" }\n    shard_tag = \"shard\"\n  }\n")
	}
	return fmt.Sprintf(`server {
  address   = %q
  namespace = "fleet"
%s}
%s
cluster "shards" {
  snapshotter = "db"
  lead        = %q
  hold        = %q
%s%s}
`, address, r.more, more, cmp.Or(r.lead, "12s"), cmp.Or(r.hold, "1s"), r.inCluster, cluster.String())
}

func (r *rig) write(name, text string) string {
	r.t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// addHost makes an instance of the sandbox with one volume and a worker. Its mount point follows from its shard: on real hosts it is the same everywhere.
func (r *rig) addHost(name, shard string, edits ...func(*testHost)) *testHost {
	r.t.Helper()
	bin, _ := programs()
	h := &testHost{name: name, shard: shard, mount: r.dir + "/mnt/" + shard, dir: filepath.Join(r.dir, name), region: cmp.Or(r.region, "eu-west-1")}
	for _, edit := range edits {
		edit(h)
	}
	r.hosts[name] = h
	if err := os.MkdirAll(h.mount, 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.write(name+"/snaptastic.hcl", fmt.Sprintf(`max_hold = %q
snapshotter "db" {
  filter_tags = { cluster = "shards", shard = %q }
  volume "/dev/sdf" {
    mount_point = %q
    size        = 1
    file_system = "ext4"
%s  }
%s}
`, cmp.Or(r.maxHold, "10s"), shard, h.mount, r.inVolume, r.declared))
	called := name
	if r.byTag {
		called = "instance-id"
	}
	wire, via := newWire(r.t, r.address())
	r.wires[name] = wire
	r.write(name+"/fleet.hcl", r.settingsVia(via, fmt.Sprintf(`worker {
  host        = %q
  program     = %q
  args        = [%s]
  allow       = ["snapshot db", "mount db", "restore db", "verify db"%s]
  trust_clock = true
  probe "there" { command = ["/bin/ls", %q] }
%s}`, called, bin.snaptastic, quoted(h.flags(r)), r.allow, h.mount, strings.ReplaceAll(r.inWorker, "DIR", h.dir))))
	h.worker = r.startWorker(h)
	return h
}

func (h *testHost) flags(r *rig) []string {
	return []string{"--sandbox=" + r.dir + "/sandbox/worlds/123456789012/" + h.region + "/" + h.name, "--settings=" + h.dir + "/snaptastic.hcl", "--state-dir=" + h.dir + "/state"}
}

func quoted(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

func sortedNames(m map[string]*testHost) []string {
	var names []string
	for i := range len(m) * 4 {
		if n := fmt.Sprintf("h%d", i+1); m[n] != nil {
			names = append(names, n)
		}
	}
	return names
}

func (r *rig) startWorker(h *testHost) *process {
	bin, _ := programs()
	p := r.spawn(bin.fleet, "worker", "--config", h.dir+"/fleet.hcl")
	r.eventually("the worker of "+h.name+" works", func() bool { return strings.Contains(p.out.String(), "working on queue") })
	return p
}

func (r *rig) startControl() {
	bin, _ := programs()
	r.control = r.spawn(bin.fleet, "control", "--config", r.dir+"/fleet.hcl")
	r.eventually("control works", func() bool { return strings.Contains(r.control.out.String(), "working on queue") })
}

// snaptastic runs the program on a host and returns what it printed.
func (r *rig) snaptastic(h *testHost, args ...string) (string, error) {
	bin, _ := programs()
	var out, errs bytes.Buffer
	c := exec.Command(bin.snaptastic, append(h.flags(r), args...)...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

func (r *rig) must(h *testHost, args ...string) string {
	r.t.Helper()
	out, err := r.snaptastic(h, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// fleet runs a command of the fleet, and decodes its JSON.
func (r *rig) fleet(out any, args ...string) error {
	bin, _ := programs()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, bin.fleet, append(args, "--config", r.dir+"/fleet.hcl", "-o", "json")...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if out != nil && stdout.Len() > 0 {
		if bad := json.Unmarshal(stdout.Bytes(), out); bad != nil {
			r.t.Errorf("%s printed %s", args[0], stdout.String())
		}
	}
	if err != nil {
		return errors.New(strings.TrimSpace(stderr.String()))
	}
	return nil
}

func (r *rig) eventually(what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	r.t.Fatalf("it does not come about that %s", what)
}

// clear unmounts and takes away all that the rig made, whatever state it is in.
func (r *rig) clear(snaptastic string) {
	for _, n := range sortedNames(r.hosts) {
		h := r.hosts[n]
		_, _ = r.snaptastic(h, "thaw", "--owned")
		_, _ = r.snaptastic(h, "thaw", h.mount)
		_ = syscall.Unmount(h.mount, 0)
	}
	_ = command(snaptastic, "--sandbox="+r.dir+"/sandbox", "sandbox", "reset", "--yes")
	_ = os.RemoveAll(r.dir)
}
