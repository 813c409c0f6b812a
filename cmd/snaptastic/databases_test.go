package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// database is a real server on the volumes of a rig, with the project's own example as its settings. systemctl is a
// stand-in that starts and stops this server alone.
type database struct {
	*rig
	name      string   // of the example and its snapshotter
	program   string   // what the server's process is called
	owner     string   // the user it runs as
	start     string   // shell, run by `systemctl start`; RUN is the folder for socket, log and pid, LIB stands for /var/lib
	stop      string   // shell, run by `systemctl stop`
	tools     []string // what it needs to be installed
	userdata  string
	dataOf    []string // mount points below /var/lib, in the order of the device names
	env       []string
	newWriter func(d *database, w int) (commit func(n int) error, end func())
}

func (d *database) runDir() string { return filepath.Join(d.dir, "run") }

// open skips where the server cannot be had, and mounts the volumes: the hooks start it.
func (d *database) open(t *testing.T) {
	t.Helper()
	if os.Getenv("SNAPTASTIC_DATABASES") == "" {
		t.Skip("real databases: make test-databases")
	}
	for _, tool := range d.tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	owner, err := user.Lookup(d.owner)
	if err != nil {
		t.Skipf("%s is not installed: there is no user %s", d.name, d.owner)
	}
	d.rig = newRig(t, 0, "")
	t.Cleanup(d.kill)
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	for _, dir := range []string{d.dir, filepath.Join(d.dir, "mnt"), filepath.Join(d.dir, "mnt/lib"), d.runDir()} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(d.runDir(), uid, gid); err != nil {
		t.Fatal(err)
	}
	place := strings.NewReplacer("RUN", d.runDir(), "LIB", d.dir+"/mnt/lib", "AS", "setpriv --reuid="+d.owner+" --regid="+d.owner+" --clear-groups")
	d.rig.script("bin/start", "set -e\ncd /\n"+place.Replace(d.start))
	d.rig.script("bin/stop", "cd /\n"+place.Replace(d.stop)+"\nexit 0\n")
	d.rig.script("bin/systemctl", fmt.Sprintf("case $1 in start) exec %s/bin/start;; stop) exec %s/bin/stop;; esac\nexit 3\n", d.dir, d.dir))
	d.pathFirst(filepath.Join(d.dir, "bin"))
	for _, e := range d.env {
		d.rig.env = append(d.rig.env, place.Replace(e))
	}
	for _, m := range d.dataOf {
		d.mounts = append(d.mounts, filepath.Join(d.dir, "mnt/lib", m))
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"log", "log.err", "initdb", "install"} {
				if b, err := os.ReadFile(filepath.Join(d.runDir(), name)); err == nil {
					t.Logf("%s: %s", name, b[max(0, len(b)-3000):])
				}
			}
		}
	})
	d.declare(d.settingsOf())
	if err := d.openSandbox().SetUserData(d.moved(d.userdata)); err != nil {
		t.Fatal(err)
	}
	d.must("run", "mount", d.name)
	d.firstMounted()
}

var (
	sizeOf   = regexp.MustCompile(`(?m)^(\s+size\s+=) \d+`)
	speedOf  = regexp.MustCompile(`(?m)^\s+(iops|throughput)\s+= \d+\n`)
	stopHook = regexp.MustCompile(`(?m)^  hook "pre_unmounts".*\n`)
)

// settingsOf is the example with small volumes in the rig's folder.
func (d *database) settingsOf() string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "examples", d.name+".hcl"))
	if err != nil {
		d.t.Fatal(err)
	}
	small := speedOf.ReplaceAllString(sizeOf.ReplaceAllString(string(text), "$1 1"), "")
	small = strings.Replace(small, `on_missing = "fail"`, `on_missing = "create"`, 1)
	// Debian's own settings name the socket of the machine's server.
	small = strings.Replace(small, `"--protocol=socket"`, `"--protocol=socket", "--socket=`+d.runDir()+`/sock"`, 1)
	probes, err := filepath.Abs(filepath.Join(repository, "examples/probes"))
	if err != nil {
		d.t.Fatal(err)
	}
	small = strings.ReplaceAll(small, "/usr/share/doc/snaptastic/examples/probes", probes)
	return d.moved(small)
}

func (d *database) firstMounted() {
	d.t.Helper()
	if got := d.mounted(); len(got) != len(d.mounts) {
		d.t.Fatalf("mounted are %v", got)
	}
}

// pids are the server's process and all that it started.
func (d *database) pids() []int {
	b, err := os.ReadFile(filepath.Join(d.runDir(), "pid"))
	if err != nil {
		return nil
	}
	root, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(string(b), "\n", 2)[0]))
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", root))
	if root == 0 || strings.TrimSpace(string(comm)) != d.program {
		return nil
	}
	all := []int{root}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, _ := os.ReadFile(s)
		_, rest, ok := bytes.Cut(b, []byte(") "))
		if f := strings.Fields(string(rest)); ok && len(f) > 1 && f[1] == strconv.Itoa(root) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
			all = append(all, pid)
		}
	}
	return all
}

// kill ends the server as a power cut would, and waits until nothing of it is left.
func (d *database) kill() {
	pids := d.pids()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for deadline := time.Now().Add(time.Minute); len(pids) > 0; time.Sleep(10 * time.Millisecond) {
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || bytes.Contains(b, []byte(") Z "))
		})
		if time.Now().After(deadline) {
			d.t.Errorf("%s does not end: %v", d.program, pids)
			return
		}
	}
}

// A commit is one that the server has answered.
type commit struct {
	writer, n   int
	sent, acked time.Time
}

// load is writers that commit one after the other until they are told to stop or the server is gone.
type load struct {
	mu      sync.Mutex
	commits []commit
	over    chan struct{}
	writers sync.WaitGroup
}

const writers = 4

func (d *database) load() *load {
	d.t.Helper()
	l := &load{over: make(chan struct{})}
	for w := range writers {
		commitOne, end := d.newWriter(d, w)
		l.writers.Go(func() {
			defer end()
			for n := 1; ; n++ {
				select {
				case <-l.over:
					return
				default:
				}
				c := commit{writer: w, n: n, sent: time.Now()}
				if commitOne(n) != nil {
					return
				}
				c.acked = time.Now()
				l.mu.Lock()
				l.commits = append(l.commits, c)
				l.mu.Unlock()
			}
		})
	}
	d.t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	select {
	case <-l.over:
	default:
		close(l.over)
	}
	l.writers.Wait()
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.commits)
}

// piped makes a writer of a client that reads statements and answers each with its number on a line.
func piped(d *database, statement func(n int) string, name string, args ...string) (commit func(n int) error, end func()) {
	d.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = d.rig.env
	in, err := cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	return func(n int) error {
		if _, err := io.WriteString(in, statement(n)); err != nil {
			return err
		}
		line, err := answers.ReadString('\n')
		if err == nil && strings.TrimSpace(line) != strconv.Itoa(n) {
			err = fmt.Errorf("%q is no answer to %d", line, n)
		}
		return err
	}, func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() }
}

// snapshot takes one under load and returns when the call was made. The longest commit is for people to read: how long it
// may take depends on the machine.
func (d *database) snapshot(l *load) time.Time {
	d.t.Helper()
	return d.snapshotBy(l, func() { d.must("run", "snapshot", d.name) })
}

func (d *database) snapshotBy(l *load, take func()) time.Time {
	d.t.Helper()
	enough := func(n int) { d.eventually("progress of the load", func() bool { return l.count() >= n }) }
	enough(100)
	before := len(d.calls())
	began := time.Now()
	take()
	ended := time.Now()
	enough(l.count() + 40) // it goes on
	var call time.Time
	for _, c := range d.calls()[before:] {
		if strings.HasPrefix(c.Action, "CreateSnapshot") {
			call = c.Time
		}
	}
	if call.IsZero() {
		d.t.Fatal("there was no call that makes snapshots")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var longest time.Duration
	for _, c := range l.commits {
		if c.acked.After(began) && c.sent.Before(ended) {
			longest = max(longest, c.acked.Sub(c.sent))
		}
	}
	d.t.Logf("%s: %d commits, %d of them before the call; the longest commit beside the snapshot took %s", d.name, len(l.commits),
		len(l.before(call)), longest.Round(time.Millisecond))
	return call
}

// before are the commits that were answered before a moment; the caller holds the lock or the load has ended.
func (l *load) before(at time.Time) (out []commit) {
	for _, c := range l.commits {
		if c.acked.Before(at) {
			out = append(out, c)
		}
	}
	return out
}

// drilled proves the newest set beside the live server, with the example's probe.
func (d *database) drilled() {
	d.t.Helper()
	out := d.must("run", "verify", d.name)
	d.t.Log(out[max(0, strings.Index(out, "verified  set")):])
	d.takenDown()
}

// failsDrill damages the live data of the stopped server and takes a snapshot of it: the drill finds want.
func (d *database) failsDrill(want string, damage func()) {
	d.t.Helper()
	d.tool(filepath.Join(d.dir, "bin/stop"))
	damage()
	d.must("run", "snapshot", d.name)
	d.wants(exitFailed, want, "run", "verify", d.name)
	d.takenDown()
}

// takenDown fails where a drill left a folder, a mount or a volume.
func (d *database) takenDown() {
	d.t.Helper()
	if left, _ := filepath.Glob(filepath.Join(d.state(), "verify/*")); len(left) > 0 {
		d.t.Errorf("the drill left %v", left)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); bytes.Contains(mounts, []byte(d.state()+"/verify")) {
		d.t.Errorf("the drill left mounts:\n%s", mounts)
	}
	scratch, err := d.client.VolumesByTag(d.t.Context(), map[string]string{"snaptastic:purpose": "verify"})
	if err != nil || len(scratch) > 0 {
		d.t.Errorf("the drill left the volumes %v (%v)", scratch, err)
	}
}

// restore kills the server, loses its volumes, and mounts new ones from the snapshots: the hooks start it again.
func (d *database) restore(l *load) {
	d.t.Helper()
	d.kill()
	l.stop()
	d.must("run", "unmount", d.name)
	for _, v := range d.detached() {
		if err := d.client.DeleteVolume(d.t.Context(), v); err != nil {
			d.t.Fatal(err)
		}
	}
	d.must("run", "mount", d.name)
	d.firstMounted()
}

// detached are the volumes that nothing has attached.
func (d *database) detached() (ids []string) {
	d.t.Helper()
	for _, m := range d.mounts {
		vs, err := d.client.VolumesByTag(d.t.Context(), map[string]string{"mount_point": m})
		if err != nil {
			d.t.Fatal(err)
		}
		for _, v := range vs {
			if v.State == "available" {
				ids = append(ids, v.ID)
			}
		}
	}
	if len(ids) != len(d.mounts) {
		d.t.Fatalf("detached are %v, want %d", ids, len(d.mounts))
	}
	return ids
}

// holds checks that every commit answered before the call is in what was restored; has says "writer n" for each row.
func (d *database) holds(l *load, call time.Time, has string) {
	d.t.Helper()
	rows := map[string]bool{}
	for line := range strings.Lines(has) {
		rows[strings.TrimSpace(line)] = true
	}
	acked := l.before(call)
	var lost []commit
	for _, c := range acked {
		if !rows[fmt.Sprint(c.writer, " ", c.n)] {
			lost = append(lost, c)
		}
	}
	if len(acked) < 100 || len(lost) > 0 {
		d.t.Errorf("%d of %d commits that were answered before the snapshot are lost: %v; %d rows", len(lost), len(acked), lost[:min(len(lost), 5)], len(rows))
	}
}

// tool runs a client of the database in the rig's environment.
func (d *database) tool(name string, args ...string) string {
	d.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = d.rig.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func postgres() *database {
	bin := "/usr/lib/postgresql/15/bin/"
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(found) > 0 {
		bin = filepath.Dir(found[len(found)-1]) + "/"
	}
	return &database{name: "postgres", program: "postgres", owner: "postgres", tools: []string{bin + "postgres", bin + "pg_amcheck", "psql", "setpriv"},
		dataOf: []string{"postgresql/data", "postgresql/wal", "postgresql/tablespace"},
		userdata: `{"group": "db", "cluster": "test", "volumes": [{"device": "/dev/sdf", "mount_point": "/var/lib/postgresql/data", "size": 1},
			{"device": "/dev/sdg", "mount_point": "/var/lib/postgresql/wal", "size": 1}, {"device": "/dev/sdh", "mount_point": "/var/lib/postgresql/tablespace", "size": 1}]}`,
		env: []string{"PGHOST=RUN", "PGUSER=postgres", "PGDATABASE=postgres"},
		start: `[ -e LIB/postgresql/data/PG_VERSION ] || AS ` + bin + `initdb -D LIB/postgresql/data -X LIB/postgresql/wal --auth=trust --data-checksums >RUN/initdb 2>&1
AS ` + bin + `pg_ctl -D LIB/postgresql/data -w -t 120 -l RUN/log -o "-k RUN -c listen_addresses= -c external_pid_file=RUN/pid -c shared_buffers=32MB" start >/dev/null 2>&1 </dev/null
`,
		stop: `AS ` + bin + `pg_ctl -D LIB/postgresql/data -w -m fast stop >/dev/null 2>&1`,
		newWriter: func(d *database, w int) (func(int) error, func()) {
			table := []string{"t", "u"}[w%2] // u lies in the tablespace
			return piped(d, func(n int) string {
				return fmt.Sprintf("INSERT INTO %s VALUES (%d, %d);\nSELECT %d;\n", table, w, n, n)
			}, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1")
		}}
}

func (d *database) psql(sql string) string {
	return d.tool("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql)
}

// PostgreSQL with data, log and a tablespace on volumes of their own: every commit that was answered before the call is in
// the restored cluster, and its indexes agree with its tables.
func TestDatabasePostgreSQLIsRestoredWithEveryCommit(t *testing.T) {
	d := postgres()
	d.open(t)
	d.psql("CREATE TABLE t (w int, n int, PRIMARY KEY (w, n))")
	d.psql("CREATE TABLESPACE far LOCATION '" + d.mounts[2] + "'")
	d.psql("CREATE TABLE u (w int, n int, PRIMARY KEY (w, n) USING INDEX TABLESPACE far) TABLESPACE far")
	l := d.load()
	call := d.snapshot(l)
	d.drilled()
	d.restore(l)
	d.holds(l, call, d.psql("SELECT w || ' ' || n FROM t UNION ALL SELECT w || ' ' || n FROM u"))
	d.tool(filepath.Join(filepath.Dir(d.tools[0]), "pg_amcheck"), "--all", "--install-missing", "--heapallindexed", "--parent-check")
	table := strings.TrimSpace(d.psql("SELECT pg_relation_filepath('t')"))
	d.failsDrill("invalid page in block 0", func() { flip(t, filepath.Join(d.mounts[0], table), 40, 8) })
	d.must("run", "unmount", d.name) // its hook stops the server
}

// A drill that is killed while its private PostgreSQL checks: the server ends with it, and resume takes down the rest.
func TestDatabasePostgreSQLDrillIsKilled(t *testing.T) {
	d := postgres()
	d.open(t)
	d.psql("CREATE TABLE t AS SELECT n, repeat('x', 500) AS s FROM generate_series(1, 100000) n")
	d.must("run", "snapshot", d.name)
	private := func() string {
		out, _ := exec.Command("pgrep", "-f", "^postgres -D "+d.mounts[0]+" -c config_file=/tmp/postgresql.conf").Output()
		return strings.TrimSpace(string(out))
	}
	d.killWhen("a private server", func() bool { return private() != "" }, "run", "verify", d.name)
	d.eventually("end of the private server", func() bool { return private() == "" })
	d.must("resume")
	d.takenDown()
	if got := strings.TrimSpace(d.psql("SELECT count(*) FROM t")); got != "100000" {
		t.Errorf("the live server answers %q", got)
	}
	d.drilled()
}

// A running PostgreSQL whose tablespace nobody has open: no volume is taken from under it, whatever is idle.
func TestDatabasePostgreSQLKeepsItsIdleTablespace(t *testing.T) {
	d := postgres()
	d.open(t)
	d.psql("CREATE TABLE t (w int, n int)")
	d.psql("CREATE TABLESPACE far LOCATION '" + d.mounts[2] + "'")
	d.psql("CREATE TABLE u TABLESPACE far AS SELECT 1 AS n")
	d.psql("CHECKPOINT")
	// As the background processes may keep its files open, the server starts over and reads nothing.
	d.tool(filepath.Join(d.dir, "bin/stop"))
	d.tool(filepath.Join(d.dir, "bin/start"))
	hooked := d.settingsOf()
	without := stopHook.ReplaceAllString(hooked, "")
	if without == hooked {
		t.Fatal("the example has no hook that stops the server")
	}
	d.declare(without)
	before := len(d.calls())
	out := d.wants(exitFailed, d.mounts[0]+": file system is in use", "run", "unmount", d.name)
	if strings.Contains(out, d.mounts[2]+": file system is in use") {
		t.Errorf("the tablespace is in use, so this shows nothing:\n%s", out)
	}
	if did := mutating(d.calls()[before:]); len(did) > 0 || len(d.mounted()) != 3 {
		t.Errorf("it made %v; mounted are %v", did, d.mounted())
	}
	if got := strings.TrimSpace(d.psql("INSERT INTO u VALUES (2); SELECT sum(n) FROM u")); got != "3" {
		t.Errorf("the tablespace answers %q", got)
	}
	d.declare(hooked)
	d.must("run", "snapshot", d.name) // the refusal keeps nobody from it
	d.must("run", "unmount", d.name)
	if got := d.mounted(); len(got) != 0 || len(d.pids()) != 0 {
		t.Errorf("mounted are %v, running %v", got, d.pids())
	}
}

// MariaDB with InnoDB and Aria tables, data and redo log on volumes of their own, under the example's table lock.
func TestDatabaseMariaDBIsRestoredWithEveryCommit(t *testing.T) {
	client := []string{"--no-defaults", "--user=root", "--batch", "--skip-column-names", "--unbuffered"}
	d := &database{name: "mysql", program: "mariadbd", owner: "mysql", tools: []string{"mariadbd", "mariadb-install-db", "mysql", "mariadb-check", "mariadb-admin", "setpriv"},
		dataOf:   []string{"mysql", "mysql-redo"},
		userdata: `{"role": "mysql", "cluster": "test", "environment": "test"}`,
		env:      []string{"MYSQL_UNIX_PORT=RUN/sock", "MARIADB_UNIX_PORT=RUN/sock"},
		start: `if [ ! -e LIB/mysql/mysql ]; then
	mariadb-install-db --no-defaults --user=mysql --datadir=LIB/mysql --auth-root-authentication-method=socket --skip-test-db >RUN/install 2>&1
	mv LIB/mysql/ib_logfile0 LIB/mysql-redo/
fi
setsid mariadbd --no-defaults --user=mysql --datadir=LIB/mysql --innodb-log-group-home-dir=LIB/mysql-redo --innodb-log-file-size=16M --socket=RUN/sock --skip-networking \
	--pid-file=RUN/pid --log-error=RUN/log.err --innodb-buffer-pool-size=16M >/dev/null 2>&1 </dev/null &
i=0
until mariadb-admin --no-defaults --user=root --socket=RUN/sock ping >/dev/null 2>&1; do
	i=$((i+1)); [ $i -lt 100 ] || exit 1
	sleep 0.1
done
`,
		stop: `mariadb-admin --no-defaults --user=root --socket=RUN/sock shutdown >/dev/null 2>&1
while [ -e RUN/pid ] && kill -0 "$(cat RUN/pid)" 2>/dev/null; do sleep 0.1; done`,
		newWriter: func(d *database, w int) (func(int) error, func()) {
			table := []string{"d.t", "d.u"}[w%2]
			return piped(d, func(n int) string { return fmt.Sprintf("INSERT INTO %s VALUES (%d, %d); SELECT %d;\n", table, w, n, n) }, "mysql", client...)
		}}
	d.open(t)
	ask := func(sql string) string { return d.tool("mysql", append(slices.Clone(client), "--execute", sql)...) }
	ask("CREATE DATABASE d; CREATE TABLE d.t (w int, n int, PRIMARY KEY (w, n)) ENGINE=InnoDB; CREATE TABLE d.u (w int, n int, PRIMARY KEY (w, n)) ENGINE=Aria")
	l := d.load()
	call := d.snapshot(l)
	d.drilled()
	d.restore(l)
	d.holds(l, call, ask("SELECT concat(w, ' ', n) FROM d.t UNION ALL SELECT concat(w, ' ', n) FROM d.u"))
	out := d.tool("mariadb-check", "--no-defaults", "--user=root", "--all-databases", "--check", "--extended")
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(strings.TrimSpace(line), "OK") {
			t.Errorf("mariadb-check: %s", line)
		}
	}
	d.must("run", "unmount", d.name)
}

// Redis with its append-only files on the volume of its data, where it needs them.
func TestDatabaseRedisIsRestoredWithEveryWrite(t *testing.T) {
	d := &database{name: "redis", program: "redis-server", owner: "redis", tools: []string{"redis-server", "redis-cli", "redis-check-aof", "setpriv"},
		dataOf:   []string{"redis"},
		userdata: `{"role": "redis", "cluster": "test", "environment": "test"}`,
		start: `AS redis-server --port 0 --unixsocket RUN/sock --dir LIB/redis --appendonly yes --appendfsync always --save '' --daemonize yes --pidfile RUN/pid --logfile RUN/log >/dev/null 2>&1 </dev/null
i=0
until [ "$(redis-cli -s RUN/sock ping 2>/dev/null)" = PONG ]; do
	i=$((i+1)); [ $i -lt 100 ] || exit 1
	sleep 0.1
done
`,
		stop: `redis-cli -s RUN/sock shutdown >/dev/null 2>&1
while [ -e RUN/pid ] && kill -0 "$(cat RUN/pid)" 2>/dev/null; do sleep 0.1; done`,
		newWriter: func(d *database, w int) (func(int) error, func()) {
			c, err := net.Dial("unix", filepath.Join(d.runDir(), "sock"))
			if err != nil {
				d.t.Fatal(err)
			}
			answers := bufio.NewReader(c)
			return func(n int) error {
				if _, err := fmt.Fprintf(c, "SET \"%d %d\" 1\r\n", w, n); err != nil {
					return err
				}
				line, err := answers.ReadString('\n')
				if err == nil && line != "+OK\r\n" {
					err = fmt.Errorf("redis answers %q", line)
				}
				return err
			}, func() { _ = c.Close() }
		}}
	d.open(t)
	l := d.load()
	call := d.snapshot(l)
	d.drilled()
	d.restore(l)
	d.holds(l, call, d.tool("redis-cli", "-s", filepath.Join(d.runDir(), "sock"), "keys", "*"))
	d.tool(filepath.Join(d.dir, "bin/stop"))
	manifests, _ := filepath.Glob(filepath.Join(d.mounts[0], "appendonlydir", "*.manifest"))
	if len(manifests) != 1 {
		t.Fatalf("manifests are %v", manifests)
	}
	if out := d.tool("redis-check-aof", manifests[0]); !strings.Contains(out, "valid") {
		t.Errorf("redis-check-aof: %s", out)
	}
	d.must("run", "unmount", d.name)
}

// SQLite with a WAL, its writer busy.
func TestDatabaseSQLiteIsDrilled(t *testing.T) {
	d := &database{name: "sqlite", program: "sqlite3", owner: "nobody", tools: []string{"sqlite3", "setpriv"},
		dataOf:   []string{"app"},
		userdata: `{"role": "app", "cluster": "test", "environment": "test"}`,
		start: `[ -e LIB/app/app.db ] || sqlite3 LIB/app/app.db 'PRAGMA journal_mode = wal; CREATE TABLE t (w int, n int, PRIMARY KEY (w, n))' >/dev/null
`,
		stop: `:`,
		newWriter: func(d *database, w int) (func(int) error, func()) {
			return piped(d, func(n int) string { return fmt.Sprintf("INSERT INTO t VALUES (%d, %d); SELECT %d;\n", w, n, n) },
				"sqlite3", "-batch", "-cmd", ".timeout 60000", filepath.Join(d.mounts[0], "app.db"))
		}}
	d.open(t)
	l := d.load()
	d.snapshot(l)
	d.drilled()
	l.stop()
	d.failsDrill("app.db: ", func() {
		db := filepath.Join(d.mounts[0], "app.db")
		d.tool("sqlite3", db, "PRAGMA wal_checkpoint(TRUNCATE)")
		flip(t, db, 4096, 200)
	})
	d.must("run", "unmount", d.name)
}
