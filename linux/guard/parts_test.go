package guard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzMessage(f *testing.F) {
	f.Add(message{kind: isThawed, index: 3, errno: syscall.EINVAL, issued: 5, returned: 6, text: "x"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := decode(b); ok && string(m.encode()) != string(b) {
			t.Errorf("%+v does not read as it was written", m)
		}
	})
}

func TestThePipeHoldsEveryMessageOfAGuard(t *testing.T) {
	parent, guard, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	defer guard.Close()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN for a larger buffer")
	}
	const perMount = 3 // frozen, stuck, thawed
	for i := range perMount*maxMounts + 8 {
		if err := unix.Sendto(int(guard.Fd()), message{kind: isFrozen}.encode(), unix.MSG_DONTWAIT, nil); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func TestAnIdentityIsNotTheNextProcessWithThatPID(t *testing.T) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	id, err := identify(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !id.alive() || id.gone() {
		t.Error("a running process counts as dead")
	}
	if (identity{PID: id.PID, Start: id.Start - 1}).alive() {
		t.Error("an earlier process with the same id counts as alive")
	}
	_ = c.Process.Kill()
	waitUntil(t, 5e9, "it is dead before it is reaped", func() bool { return !id.alive() && id.gone() })
	_ = c.Wait()
	if id.alive() || !id.gone() {
		t.Error("a reaped process counts as alive")
	}
}

func TestOnlyAGuardEntersGuardMode(t *testing.T) {
	t.Setenv(marker, "1")
	Enter() // a stray variable alone must not turn the program into a guard
}

func TestTheGuardsMemoryIsLocked(t *testing.T) {
	g := startGuard(t, asMounts(makeDisks(t, "ext4", 1)), Options{})
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(g.PID()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	locked := ""
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmLck:"); ok {
			locked = strings.TrimSpace(v)
		}
	}
	if locked == "" || strings.HasPrefix(locked, "0 ") {
		t.Errorf("VmLck: %s", locked)
	}
}

func TestOwnedFilesThatSayNothing(t *testing.T) {
	dir := t.TempDir()
	if done, err := ThawOwned(t.Context(), filepath.Join(dir, "none"), false); err != nil || len(done) != 0 {
		t.Errorf("of a folder that is not there: %+v, %v", done, err)
	}
	write := func(name, content string) string {
		path := filepath.Join(dir, name+ownedSuffix)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty, torn := write("empty", ""), write("torn", `{"schema":1,"mou`)
	newer := write("newer", `{"schema":99,"mounts":[{"path":"/mnt/x","dev":"7:0"}]}`)
	done, err := ThawOwned(t.Context(), dir, false)
	if len(done) != 0 || err == nil || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("%+v, %v", done, err)
	}
	for path, stays := range map[string]bool{empty: false, torn: false, newer: true} {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

func TestTheLastGuardRestoresTheGracePeriods(t *testing.T) {
	disks := makeDisks(t, "ext4", 2)
	knob := readKnob(t)
	t.Cleanup(func() { _ = os.WriteFile(expeditedKnob, []byte(knob), 0) })
	if knob != "0" {
		t.Skip("somebody else has rcu_expedited set")
	}
	owned := t.TempDir()
	var guards []*Guard
	for _, d := range disks {
		g := startGuard(t, asMounts([]disk{d}), Options{OwnedDir: owned, Expedite: true})
		if err := g.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		guards = append(guards, g)
	}
	for i, want := range []string{"1", "0"} {
		if now := readKnob(t); now != "1" {
			t.Errorf("guard %d in its window: rcu_expedited is %s", i, now)
		}
		if _, err := guards[i].Thaw(t.Context()); err != nil {
			t.Error(err)
		}
		if err := guards[i].Release(); err != nil {
			t.Error(err)
		}
		if now := readKnob(t); now != want {
			t.Errorf("after guard %d left: rcu_expedited is %s, want %s", i, now, want)
		}
	}
	if claims, _ := filepath.Glob(filepath.Join(owned, "*"+claimSuffix)); len(claims) != 0 {
		t.Errorf("left behind: %s", claims)
	}
}
