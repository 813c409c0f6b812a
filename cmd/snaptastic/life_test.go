package main

import (
	"regexp"
	"strings"
	"testing"
)

var doneRun = regexp.MustCompile(`run (\S+) is done`)

// Three nights of a real PostgreSQL, a drill, rules of what to keep; then back to the night before, and to the present again.
// The database itself says each time what is in it.
func TestDatabasePostgreSQLLivesThroughNightsDrillsAndRestores(t *testing.T) {
	d := postgres()
	d.open(t)
	did := func(args ...string) (run string) {
		t.Helper()
		out := d.must(args...)
		found := doneRun.FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%v names no run:\n%s", args, out)
		}
		if strings.Contains(out, "interrupted") {
			t.Errorf("%v is done, and says that something was interrupted:\n%s", args, out)
		}
		t.Logf("# snaptastic %s\n%s", strings.Join(args, " "), out[max(0, len(out)-1500):])
		return found[1]
	}
	holds := func(want string) {
		t.Helper()
		if got := strings.Join(strings.Fields(d.psql("SELECT what FROM life ORDER BY n")), " "); got != want {
			t.Fatalf("the database holds %q, want %q", got, want)
		}
	}
	d.psql("CREATE TABLE life (n serial PRIMARY KEY, what text)")
	write := func(what string) { d.psql("INSERT INTO life (what) VALUES ('" + what + "')") }
	var nights []string
	for _, night := range []string{"monday", "tuesday", "wednesday"} {
		write(night)
		nights = append(nights, did("run", "snapshot", d.name))
	}
	d.drilled()
	write("migration")

	d.declare(strings.Replace(d.settingsOf(), `expire_after = "7d"`, "keep {\n    last = 2\n  }", 1))
	did("clean", "snapshots", d.name)
	if out := d.must("--log-level", "off", "snapshots", d.name); strings.Contains(out, nights[0]) || !strings.Contains(out, nights[1]) || !strings.Contains(out, nights[2]) {
		t.Errorf("of the nights %v the last two should be left:\n%s", nights, out)
	}

	restore := did("run", "restore", d.name, "--set", nights[1])
	holds("monday tuesday")
	write("mistake")
	d.must("rollback", restore)
	holds("monday tuesday wednesday migration")
	d.must("run", "snapshot", d.name) // and it goes on
	d.drilled()
	d.must("run", "unmount", d.name)
}
