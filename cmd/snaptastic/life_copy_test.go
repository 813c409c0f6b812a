package main

import (
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/ec2/ebs"
	"snaptastic/ec2/sandbox"
)

// Two nights of a real PostgreSQL under load, copied to a second region; then the first region is lost. In the second one the mount
// starts the server, with every commit that was answered before the last snapshot, and its life goes on there. `check` tells in each
// place what is copied, and what is lost.
func TestDatabasePostgreSQLLivesOnInASecondRegion(t *testing.T) {
	d := postgres()
	d.open(t)
	copies := func(blocks string) {
		t.Helper()
		text := strings.TrimSuffix(strings.TrimSpace(d.settingsOf()), "}")
		d.declare(text + blocks + "}\n")
	}
	here := func(code int, want string, args ...string) {
		t.Helper()
		t.Logf("# in eu-west-1: snaptastic %s\n%s", strings.Join(args, " "), d.wants(code, want, args...))
	}
	there := func(code int, want string, args ...string) {
		t.Helper()
		got, out := d.elsewhere(frankfurt, args...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("in eu-central-1 snaptastic %s ends with %d and does not say %q:\n%s", strings.Join(args, " "), got, want, out)
		}
		t.Logf("# in eu-central-1: snaptastic %s\n%s", strings.Join(args, " "), out)
	}
	completed := func() {
		t.Helper()
		d.eventually("completed snapshots", func() bool {
			for _, s := range d.snapshots() {
				if s.State != ebs.SnapshotCompleted {
					return false
				}
			}
			return true
		})
	}
	d.psql("CREATE TABLE t (w int, n int, PRIMARY KEY (w, n))")
	d.psql("CREATE TABLESPACE far LOCATION '" + d.mounts[2] + "'")
	d.psql("CREATE TABLE u (w int, n int, PRIMARY KEY (w, n) USING INDEX TABLESPACE far) TABLESPACE far")
	l := d.load()

	copies(`  copy "eu-central-1" { max_lag = "1h" }` + "\n")
	d.snapshot(l)
	completed()
	d.drilled()
	here(exitFailed, "copied to eu-central-1: no copy exists there", "check", d.name)
	here(0, "is done", "run", "copy", d.name)
	here(0, "", "check", d.name)

	call := d.snapshot(l)
	completed()
	copies(`  copy "eu-central-1" {}` + "\n")
	here(exitFailed, "copied to eu-central-1: its newest snapshot", "check", d.name, "--max-age", "1s") // that of the first night
	copies(`  copy "eu-central-1" { max_lag = "1h" }` + "\n" + `  copy "eu-west-1" {}` + "\n")
	here(0, "is done", "run", "copy", d.name)
	here(0, "", "check", d.name)

	d.kill()
	l.stop()
	t.Logf("# snaptastic sandbox lose eu-west-1\n%s", d.must("sandbox", "lose", "eu-west-1"))
	here(exitFailed, "eu-west-1 is lost", "check", d.name, "--userdata", d.moved(d.userdata))

	second, err := sandbox.Open(sandbox.Config{Dir: sandbox.WorldDir(d.sandboxDir(), frankfurt)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Close() })
	if err := second.SetUserData(d.moved(d.userdata)); err != nil {
		t.Fatal(err)
	}
	there(0, "", "run", "mount", d.name)
	d.firstMounted()
	d.holds(l, call, d.psql("SELECT w || ' ' || n FROM t UNION ALL SELECT w || ' ' || n FROM u"))
	d.tool(filepath.Join(filepath.Dir(d.tools[0]), "pg_amcheck"), "--all", "--install-missing", "--heapallindexed", "--parent-check")

	d.psql("CREATE TABLE life AS SELECT 'goes on' AS what")
	there(0, "", "run", "snapshot", d.name, "--wait")
	there(0, "verified  set", "run", "verify", d.name)
	there(exitFailed, "copied to eu-west-1: its copies cannot be checked", "check", d.name)
	copies("")
	there(0, "", "check", d.name)
	there(0, "", "run", "unmount", d.name)
}
