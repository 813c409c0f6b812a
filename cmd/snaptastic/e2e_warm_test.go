package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"snaptastic/plan"
)

const warmData = 64 << 20 // bytes of the files on a volume to be warmed

// warmable has a restored volume with files, to be warmed at a rate in MiB/s.
func warmable(t *testing.T, rate int, more string) *rig {
	r := newRig(t, 1, "ext4")
	r.declare(fmt.Sprintf(`snapshotter "db" {
  filter_tags = { role = "db" }
  volume "/dev/sdf" {
    mount_point = %q
    size        = 1
    file_system = "ext4"
    warm        = ["wal/**", "[n]o such {a,b}/*"]
    warm_rate   = %d
  }
%s}
`, r.mounts[0], rate, more))
	r.must("run", "mount", "db")
	for i, name := range []string{"wal/1", "base/1", "base/2", "base/3"} {
		path := filepath.Join(r.mounts[0], name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat(string(rune('a'+i)), warmData/4)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.must("run", "snapshot", "db")
	r.lose()
	r.must("run", "mount", "db")
	return r
}

var percentOf = regexp.MustCompile(`"percent":(\d+)`)

// warming starts a warming and waits until it is so far, in percent.
func (r *rig) warming(percent int) *started {
	r.t.Helper()
	events := filepath.Join(r.t.TempDir(), "events")
	s := r.start("run", "warm", "db", "--events", events)
	r.eventually("progress of the warming", func() bool {
		b, _ := os.ReadFile(events)
		all := percentOf.FindAllSubmatch(b, -1)
		if len(all) == 0 {
			return false
		}
		n, _ := strconv.Atoi(string(all[len(all)-1][1]))
		return n >= percent
	})
	return s
}

// warmed is what the JSON of a run says about the volume.
func warmed(t *testing.T, out string) *plan.Warming {
	t.Helper()
	var end struct {
		Lanes []struct{ Warming *plan.Warming }
	}
	if err := json.Unmarshal([]byte(out), &end); err != nil || len(end.Lanes) == 0 || end.Lanes[0].Warming == nil {
		t.Fatalf("nothing was warmed: %v\n%s", err, out)
	}
	return end.Lanes[0].Warming
}

func TestAnUnmountStopsWarming(t *testing.T) {
	t.Parallel()
	r := warmable(t, 1, "") // it would take a minute
	if out := r.must("plan", "warm", "db"); !strings.Contains(out, "nothing to change") {
		t.Errorf("the plan reads, and says:\n%s", out)
	}
	s := r.warming(1)
	if code, out := r.run("run", "warm", "db"); code != exitBusy || !strings.Contains(out, "warm:") && !strings.Contains(out, "run ") {
		t.Errorf("a second warming: exit %d\n%s", code, out)
	}
	r.must("run", "snapshot", "db") // a freeze and a warming are not in each other's way
	r.must("run", "mount", "db")
	if s.ProcessState != nil {
		t.Fatal("the warming has ended by itself")
	}
	r.must("run", "unmount", "db")
	code, out := s.ends()
	if code != 0 || !strings.Contains(out, "stopped at ") || !strings.Contains(out, "another run unmounts it") {
		t.Errorf("the warming: exit %d\n%s", code, out)
	}
	if left := r.unfinished(); len(left) != 0 {
		t.Errorf("unfinished are %v", left)
	}
	if code, out := r.run("run", "warm", "db"); code != exitFailed || !strings.Contains(out, "run mount") {
		t.Errorf("warming what is not mounted: exit %d\n%s", code, out)
	}
	r.must("run", "mount", "db") // it is in nobody's way, though it failed
}

func TestWarmingGoesOnAfterAKillAndAReboot(t *testing.T) {
	t.Parallel()
	r := warmable(t, 6, "") // ten seconds
	s := r.warming(30)
	s.signal(syscall.SIGKILL)
	_ = s.Wait()
	if left := r.unfinished(); len(left) != 1 {
		t.Fatalf("unfinished are %v", left)
	}
	r.must("resume") // a boot waits for no warming
	r.reboot()
	r.must("resume")
	r.must("run", "mount", "db")
	s = r.warming(60)
	s.signal(syscall.SIGTERM) // as systemd stops it
	if code, out := s.ends(); code != exitInterrupted {
		t.Errorf("exit %d\n%s", code, out)
	}
	code, stdout, stderr := r.apart(r.command("-o", "json", "run", "warm", "db"))
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	got := warmed(t, stdout)
	// From the start each time it would be 1.9 times. How much is under way at a cut depends on the load of this machine: the benchmark knows.
	if got.Percent != 100 || got.InUseBytes < warmData || got.ReadBytes < got.InUseBytes || got.ReadBytes > got.InUseBytes*3/2 {
		t.Errorf("after two cuts: %+v", got)
	}
	if left := r.unfinished(); len(left) != 0 {
		t.Errorf("unfinished are %v", left)
	}
	var end struct{ Run plan.RunID }
	if err := json.Unmarshal([]byte(stdout), &end); err != nil {
		t.Fatal(err)
	}
	by := end.Run
	for range 2 { // at each boot
		r.reboot()
		r.must("run", "mount", "db", "--wait")
		if out := r.must("plan", "warm", "db"); !strings.Contains(out, "not read: run "+string(by)+" has read it") {
			t.Errorf("what is read once is planned again:\n%s", out)
		}
		_, stdout, _ := r.apart(r.command("-o", "json", "run", "warm", "db"))
		if got := warmed(t, stdout); got.ReadBy != by || got.ReadBytes != 0 || got.Percent != 100 {
			t.Errorf("what is read once is read again: %+v", got)
		}
	}
	r.lose()
	r.must("run", "mount", "db")
	_, stdout, _ = r.apart(r.command("-o", "json", "run", "warm", "db"))
	if got := warmed(t, stdout); got.ReadBy != "" || got.ReadBytes < warmData {
		t.Errorf("another volume of the same snapshot: %+v", got)
	}
	r.must("run", "unmount", "db")
}

func TestAMountThatWaitsIsWarmBeforeItsHooks(t *testing.T) {
	t.Parallel()
	r := warmable(t, 1000, `  hook "post_mounts" {
    command = ["sh", "-c", "echo started"]
    when    = "always"
  }
`)
	r.must("run", "unmount", "db")
	code, stdout, stderr := r.apart(r.command("-o", "json", "run", "mount", "db", "--wait"))
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	if !strings.Contains(stdout, "no data on it matches [n]o such {a,b}/*: check") {
		t.Errorf("a glob without data is passed over in silence:\n%s", stdout)
	}
	if got := warmed(t, stdout); got.Percent != 100 || got.ReadBytes < warmData {
		t.Errorf("the mount warmed %+v", got)
	}
	read, hook := strings.Index(stderr, "done: run="+r.lastRun()+" step=warm:"), strings.Index(stderr, "step=hook:post_mounts")
	if read < 0 || hook < read {
		t.Errorf("the hook did not run after the warming:\n%s", stderr)
	}
}

// lastRun is the newest run's id.
func (r *rig) lastRun() string {
	r.t.Helper()
	all := r.journals()
	return strings.TrimSuffix(filepath.Base(all[len(all)-1]), ".db")
}
