package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Eight volumes are polled by one DescribeVolumes a tick, as one is.
// TestCallsOfOperations has how long they take, in virtual time.
func TestEightVolumesArePolledAsOne(t *testing.T) {
	t.Parallel()
	took, describes := map[int]time.Duration{}, map[int]int{}
	for _, n := range []int{1, 8} {
		r := newRig(t, n, "ext4", "--create-time=500ms", "--attach-time=500ms")
		began := time.Now()
		r.must("run", "mount", "db")
		took[n] = time.Since(began)
		describes[n] = count(r.calls())["DescribeVolumes"]
		if got := r.mounted(); len(got) != n {
			t.Errorf("%d of %d are mounted", len(got), n)
		}
		if got := count(r.calls())["CreateVolume"]; got != n {
			t.Errorf("%d CreateVolume for %d volumes", got, n)
		}
		if got := count(r.calls())["DescribeSnapshots"]; got != 2 { // the second for snapshots that miss by a tag, since there are none
			t.Errorf("%d DescribeSnapshots for %d volumes", got, n)
		}
		r.clean()
	}
	t.Logf("1 volume: %.2f s, %d DescribeVolumes; 8 volumes: %.2f s, %d DescribeVolumes; ratio %.2f",
		took[1].Seconds(), describes[1], took[8].Seconds(), describes[8], took[8].Seconds()/took[1].Seconds())
	if longer := max(1, took[8].Seconds()/took[1].Seconds()); float64(describes[8]) > float64(describes[1]*3/2+8)*longer {
		t.Errorf("%d DescribeVolumes for 8 volumes, %d for one", describes[8], describes[1])
	}
}

// program is the program itself as it is shipped, without this test's own weight. It is built once.
func program(t testing.TB) string {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var built = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(scratch, "snaptastic")
	if out, err := exec.Command("../../packaging/compile", bin).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build: %w\n%s", err, out)
	}
	return bin, nil
})

// The program is small, and so is what it needs for a mount of eight volumes.
func TestAMountStaysUnder64MiB(t *testing.T) {
	t.Parallel()
	needRig(t)
	bin := program(t)
	fi, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() >= 20*mib {
		t.Errorf("the program has %d MiB", fi.Size()/mib)
	}
	r := newRig(t, 8, "ext4", "--create-time=300ms", "--attach-time=300ms")
	r.bin = bin
	s := r.start("run", "mount", "db")
	over := make(chan struct{})
	go func() { _ = s.Wait(); close(over) }()
	peak := 0
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(2 * time.Millisecond):
			peak = max(peak, highWater(s.Process.Pid))
		}
	}
	if code := s.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit %d\n%s", code, s.out.String())
	}
	t.Logf("the program has %.1f MiB; mounting 8 volumes takes %.1f MiB at its peak", float64(fi.Size())/mib, float64(peak)/1024)
	if peak == 0 || peak >= 64*1024 {
		t.Errorf("the peak is %d KiB", peak)
	}
}

// highWater is a process's largest resident set in KiB, of its own program
// only: rusage would count what it was before exec, too.
func highWater(pid int) int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 && strings.HasSuffix(exe, "/snaptastic") {
			return kib
		}
	}
	return 0
}

// Nothing is set up at a start that version does not need: it takes no more than
// some starts of a Go program that does nothing, by turns on the same machine.
// The quickest of each is what it needs; the others wait for this machine.
func TestAStartTakesNoMoreThanTenOfAnEmptyProgram(t *testing.T) {
	dir := t.TempDir()
	empty, source := filepath.Join(dir, "empty"), filepath.Join(dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", empty, source).CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	starts := []*exec.Cmd{exec.Command(program(t), "version"), exec.Command(empty)}
	quickest := []time.Duration{time.Hour, time.Hour}
	for range 40 {
		for i, cmd := range starts {
			one := exec.Command(cmd.Path, cmd.Args[1:]...)
			if err := one.Run(); err != nil {
				t.Fatal(err)
			}
			// processor time: how long it waits for a processor says nothing about it
			quickest[i] = min(quickest[i], one.ProcessState.UserTime()+one.ProcessState.SystemTime())
		}
	}
	t.Logf("version takes %v, an empty program %v", quickest[0], quickest[1])
	if quickest[0] > 10*quickest[1] {
		t.Errorf("version takes %v, an empty program %v", quickest[0], quickest[1])
	}
}

// BenchmarkVersion is a cold start.
func BenchmarkVersion(b *testing.B) {
	bin := program(b)
	for b.Loop() {
		if err := exec.Command(bin, "version").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
