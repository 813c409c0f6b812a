package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/ebs"
	"snaptastic/ec2/sandbox"
)

// Two nights of a real PostgreSQL under load, copied to a second region; then the first region is lost. In the second one the mount
// starts the server, with every commit that was answered before the last snapshot, and its life goes on there. Another account is given a
// set of that life, copies it, and its server starts with all of it. `check` tells in each place what is copied, and what is lost.
func TestDatabasePostgreSQLLivesOnInASecondRegion(t *testing.T) {
	d := postgres()
	d.open(t)
	copies := d.copying
	here := func(code int, want string, args ...string) {
		t.Helper()
		t.Logf("# in eu-west-1: snaptastic %s\n%s", strings.Join(args, " "), d.wants(code, want, args...))
	}
	there := func(code int, want string, args ...string) { t.Helper(); d.wantsIn(frankfurt, code, want, args...) }
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

	d.boots(frankfurt)
	there(0, "", "run", "mount", d.name)
	d.firstMounted()
	d.sound(l, call)

	d.psql("CREATE TABLE life AS SELECT 'goes on' AS what")
	there(0, "", "run", "snapshot", d.name, "--wait")
	there(0, "verified  set", "run", "verify", d.name)
	there(exitFailed, "copied to eu-west-1: its copies cannot be checked", "check", d.name)
	copies("")
	there(0, "", "check", d.name)
	d.livesOnInAnotherAccount()
}

// livesOnInAnotherAccount shares what the second region has, under load again, with an account that has nothing, and mounts it there.
func (d *database) livesOnInAnotherAccount() {
	d.t.Helper()
	other := sandbox.World{Account: vault.Account, Region: frankfurt.Region}
	d.copying("  share_with = [\"" + other.Account + "\"]\n")
	d.psql("TRUNCATE t, u")
	l := d.load()
	call := d.snapshotBy(l, func() { d.wantsIn(frankfurt, 0, "shared with "+other.Account, "run", "snapshot", d.name, "--wait") })
	file := filepath.Join(d.dir, "manifest.json")
	d.wantsIn(frankfurt, 0, "", "snapshots", d.name, "--manifest", file)
	d.kill()
	l.stop()
	d.wantsIn(frankfurt, 0, "", "run", "unmount", d.name)

	d.boots(other)
	d.wantsIn(other, exitFailed, "no snapshot exists", "check", d.name)
	d.wantsIn(other, 0, "is done", "run", "copy", d.name, "--from", file)
	d.wantsIn(other, 0, "verified  set", "run", "verify", d.name)
	d.wantsIn(other, exitFailed, "no volume is in use", "check", d.name)
	for _, s := range d.snapshotsIn(frankfurt) { // the account that gave it loses all it has
		if err := d.clientIn(frankfurt).DeleteSnapshot(d.t.Context(), s.ID); err != nil {
			d.t.Fatal(err)
		}
	}
	d.wantsIn(other, 0, "", "run", "mount", d.name)
	d.firstMounted()
	d.sound(l, call)
	if what := strings.TrimSpace(d.psql("SELECT what FROM life")); what != "goes on" {
		d.t.Errorf("life is %q", what)
	}
	d.wantsIn(other, 0, "", "check", d.name)
	d.wantsIn(frankfurt, exitFailed, "no snapshot exists", "check", d.name)
	d.wantsIn(other, 0, "", "run", "unmount", d.name)
}

// copying declares the example with some more lines.
func (d *database) copying(lines string) {
	d.t.Helper()
	text := strings.TrimSuffix(strings.TrimSpace(d.settingsOf()), "}")
	d.declare(text + lines + "}\n")
}

// wantsIn runs the program on the instance of a place, for the transcript, and wants it to end and to say something.
func (d *database) wantsIn(in sandbox.World, code int, want string, args ...string) {
	d.t.Helper()
	got, out := d.elsewhere(in, args...)
	if got != code || !strings.Contains(out, want) {
		d.t.Errorf("in %s snaptastic %s ends with %d and does not say %q:\n%s", in, strings.Join(args, " "), got, want, out)
	}
	d.t.Logf("# in %s: snaptastic %s\n%s", in, strings.Join(args, " "), out)
}

// boots gives the instance of a place the userdata.
func (d *database) boots(in sandbox.World) {
	d.t.Helper()
	there, err := sandbox.Open(sandbox.Config{Dir: sandbox.WorldDir(d.sandboxDir(), in)})
	if err == nil {
		d.t.Cleanup(func() { _ = there.Close() })
		err = there.SetUserData(d.moved(d.userdata))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// sound checks that every commit that was answered before the call is there, and that indexes agree with their tables.
func (d *database) sound(l *load, call time.Time) {
	d.t.Helper()
	d.holds(l, call, d.psql("SELECT w || ' ' || n FROM t UNION ALL SELECT w || ' ' || n FROM u"))
	d.tool(filepath.Join(filepath.Dir(d.tools[0]), "pg_amcheck"), "--all", "--install-missing", "--heapallindexed", "--parent-check")
}
