package render

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
)

// twoLanes is a plan of two volumes with two steps each.
func twoLanes() *plan.Plan {
	p := &plan.Plan{Operation: "mount", Snapshotter: "db", Lanes: []plan.Lane{{ID: "/a"}, {ID: "/b"}}}
	for _, lane := range p.Lanes {
		for _, kind := range []string{"attach", "mount"} {
			p.Steps = append(p.Steps, plan.Step{ID: plan.StepID(kind + ":" + lane.ID), Kind: plan.Kind(kind), Lane: lane.ID})
		}
	}
	return p
}

// quiet shows nothing.
type quiet struct{}

func (quiet) Event(runner.Event) {}
func (quiet) Window(bool)        {}
func (quiet) Close()             {}

// systemd listens as the service manager does.
func systemd(t *testing.T) *net.UnixConn {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c
}

func heard(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestSystemdIsToldHowManyVolumesAreDone(t *testing.T) {
	c, p := systemd(t), twoLanes()
	n := Notify(quiet{}, p, map[plan.StepID]journal.Record{"attach:/a": {State: journal.Done}})
	y := &player{t: t, plan: p, to: n}
	wants := func(want string) {
		t.Helper()
		if got := heard(t, c); got != "STATUS="+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	wants("mount db: 0 of 2 done")
	y.tell(runner.Finished, "mount:/a", record(journal.Record{State: journal.Done}))
	wants("mount db: 1 of 2 done")
	y.tell(runner.Finished, "mount:/a", record(journal.Record{State: journal.Done})) // again: it is not counted twice
	y.tell(runner.Finished, "attach:/b", record(journal.Record{State: journal.Failed}))
	wants("mount db: 1 of 2 done, 1 failed")
	y.tell(runner.Starting, "attach:/b", record(journal.Record{State: journal.Started}))
	wants("mount db: 1 of 2 done")
	n.Window(true)
	y.tell(runner.Finished, "attach:/b", record(journal.Record{State: journal.Done}))
	y.tell(runner.Finished, "mount:/b", record(journal.Record{State: journal.Done}))
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes were sent while a section was open", n)
	}
	n.Window(false)
	wants("mount db: 2 of 2 done")
	n.Close()
}

// A service manager that takes nothing does not hold up a run.
func TestASystemdThatDoesNotAnswerHoldsUpNothing(t *testing.T) {
	systemd(t) // never read: its queue fills up
	p := twoLanes()
	n := Notify(quiet{}, p, nil)
	y := &player{t: t, plan: p, to: n}
	for range 5000 {
		y.tell(runner.Finished, "attach:/a", record(journal.Record{State: journal.Failed}))
		y.tell(runner.Starting, "attach:/a", record(journal.Record{State: journal.Started}))
	}
	n.Close()
}

func TestUnitsLetTheMainProcessNotify(t *testing.T) {
	units, err := filepath.Glob("../../../packaging/systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatalf("%v, %v", units, err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(string(text), "\n"); !slices.Contains(lines, "NotifyAccess=main") {
			t.Errorf("%s does not say NotifyAccess=main", unit)
		}
	}
}
