package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mariadb is a real server on a socket in a folder of its own. It is stopped with the test.
type mariadb struct {
	t      *testing.T
	dir    string
	socket string
}

func startMariaDB(t *testing.T) *mariadb {
	t.Helper()
	for _, program := range []string{"mariadbd", "mariadb-install-db", "mysql"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (apt-get install mariadb-server)", program)
		}
	}
	owner, err := user.Lookup("mysql")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and the user mysql")
	}
	dir, err := os.MkdirTemp("", "maria") // short: a socket's name has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	m := &mariadb{t: t, dir: dir, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	tool(t, "mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+data, "--tmpdir="+dir, "--auth-root-authentication-method=socket", "--skip-test-db")
	server := exec.Command("mariadbd", "--no-defaults", "--user=mysql", "--datadir="+data, "--tmpdir="+dir, "--socket="+m.socket, "--skip-networking",
		"--pid-file="+filepath.Join(dir, "pid"), "--log-error="+filepath.Join(dir, "log"), "--innodb-buffer-pool-size=8M")
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = server.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = server.Process.Kill()
			<-ended
		}
	})
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, err := m.ask("SELECT 1"); err == nil {
			return m
		}
		if time.Since(began) > time.Minute {
			b, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("mariadbd does not answer\n%s", b)
		}
	}
}

func (m *mariadb) ask(sql string) (string, error) {
	out, err := exec.Command("mysql", "--no-defaults", "--user=root", "--socket="+m.socket, "--batch", "--skip-column-names", "--execute", sql).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (m *mariadb) must(sql string) string {
	m.t.Helper()
	out, err := m.ask(sql)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", sql, err, out)
	}
	return out
}

// locker is the connection that waits in the example's hook, "" while there is none.
func (m *mariadb) locker() string {
	id, _ := m.ask("SELECT id FROM information_schema.processlist WHERE user = 'root' AND command = 'Sleep' AND id <> CONNECTION_ID()")
	return id
}

var exampleHook = regexp.MustCompile(`(?s)  hook "pre_snapshots" \{.*?\n  \}\n`)

// lockedRig is one volume whose snapshots hold the example's table lock on a real server.
func lockedRig(t *testing.T) (*rig, *mariadb) {
	m := startMariaDB(t)
	r := newRig(t, 1, "ext4")
	text, err := os.ReadFile(filepath.Join(repository, "examples", "mysql.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	hook := exampleHook.FindString(string(text))
	moved := strings.Replace(hook, "--protocol=socket", "--no-defaults\", \"--socket="+m.socket, 1)
	// --no-defaults must come first.
	moved = strings.Replace(strings.Replace(moved, "\"--no-defaults\", ", "", 1), `"--user=root"`, `"--no-defaults", "--user=root"`, 1)
	if !strings.Contains(moved, m.socket) {
		t.Fatalf("the example's hook is not as expected:\n%s", hook)
	}
	r.declare("snapshotter \"db\" {\n filter_tags = { role = \"db\" }\n max_hold = \"30s\"\n" + r.volume(0, "ext4") + moved + "}\n")
	r.must("run", "mount", "db")
	m.must("CREATE DATABASE d; CREATE TABLE d.t (n INT) ENGINE=Aria; INSERT INTO d.t VALUES (1)")
	return r, m
}

func TestTheMySQLExampleHoldsItsLockOnARealServer(t *testing.T) {
	t.Parallel()
	r, m := lockedRig(t)
	r.hang("CreateSnapshot", 10*time.Second, "before")
	s := r.start("run", "snapshot", "db")
	r.frozen()
	r.eventually("lock", func() bool { return m.locker() != "" })
	if out, err := m.ask("SET SESSION lock_wait_timeout = 0; INSERT INTO d.t VALUES (2)"); err == nil || !strings.Contains(out, "ERROR 1205") {
		t.Errorf("a write under the lock: %s, %v", out, err)
	}
	if code, out := s.ends(); code != exitDone {
		t.Fatalf("exit %d\n%s", code, out)
	}
	r.restorable(1)
	m.must("INSERT INTO d.t VALUES (3)")
	if id := m.locker(); id != "" {
		t.Errorf("connection %s is still there", id)
	}
}

// What ends the lock's connection ends the lock, and there is no snapshot then.
func TestALockThatTheServerTookAwayMakesNoSnapshot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		lose func(*mariadb)
	}{
		{"the connection is killed", func(m *mariadb) { m.must("KILL " + m.locker()) }},
		{"the server shuts down", func(m *mariadb) { m.must("SHUTDOWN") }},
		{"the client is killed", func(m *mariadb) { m.signalClient(syscall.SIGKILL) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, m := lockedRig(t)
			r.hang("CreateSnapshot", 15*time.Second, "before") // long enough for all that is typed to the server
			s := r.start("run", "snapshot", "db")
			r.frozen()
			r.eventually("lock", func() bool { return m.locker() != "" })
			tt.lose(m)
			code, out := s.ends()
			if code != exitFailed || !strings.Contains(out, "pre_snapshots") {
				t.Errorf("exit %d\n%s", code, out)
			}
			r.writable(r.mounts[0])
			r.restorable(0)
			if left := r.unfinished(); len(left) > 0 {
				t.Errorf("unfinished: %v", left)
			}
		})
	}
}

// signalClient signals the client that waits in the hook, and no other.
func (m *mariadb) signalClient(sig syscall.Signal) {
	m.t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(b), "mysql\x00") || !strings.Contains(string(b), m.socket) || !strings.Contains(string(b), "system cat") {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err := syscall.Kill(pid, sig); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	m.t.Fatal("the client is not there")
}

// A long statement keeps the lock from being had, and everybody who writes behind the lock: only for as long as the example says.
func TestALongStatementFailsTheMySQLExampleSoon(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short: takes lock_wait_timeout, 5 s")
	}
	r, m := lockedRig(t)
	long := exec.Command("mysql", "--no-defaults", "--user=root", "--socket="+m.socket, "--execute", "UPDATE d.t SET n = n + SLEEP(60)")
	if err := long.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = long.Process.Kill(); _ = long.Wait() }()
	var id string
	r.eventually("long statement", func() bool {
		id, _ = m.ask("SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE d.t SET n%' AND id <> CONNECTION_ID()")
		return id != ""
	})
	defer func() { _, _ = m.ask(fmt.Sprintf("KILL %s", id)) }()
	code, out := r.run("run", "snapshot", "db")
	if code != exitFailed || !strings.Contains(out, "Lock wait timeout exceeded") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if now, _ := m.ask("SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE d.t SET n%' AND id <> CONNECTION_ID()"); now != id {
		t.Errorf("the long statement had ended before (%q)", now)
	}
	r.restorable(0)
}
