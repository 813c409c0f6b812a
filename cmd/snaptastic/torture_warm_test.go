package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
)

// TestTortureWarming kills warmings at random moments, by themselves and beside snapshots and unmounts that are killed as well. Each
// time the volumes are as they should be, nothing waits for an operator, and the next warming finishes.
func TestTortureWarming(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 16) / 2
	r := newRig(t, 2, "ext4", "--create-time=30ms", "--attach-time=30ms", "--detach-time=20ms", "--snapshot-time=50ms", "--latency=3ms")
	text, err := os.ReadFile(r.settings)
	if err == nil {
		err = os.WriteFile(r.settings, []byte(strings.ReplaceAll(string(text), "size = 1\n", "size = 1\n    warm = [\"data/*\"]\n    warm_rate = 24\n")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.SetFaults(r.sandboxDir(), sandbox.Latency{}, sandbox.Fault{Error: "RequestLimitExceeded", Probability: 0.03, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	r.must("run", "mount", "db")
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "precious"), []byte(m), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(m, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m, "data", "file"), []byte(strings.Repeat("x", 24<<20)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.must("run", "snapshot", "db")
	r.lose()
	r.must("run", "mount", "db")
	rng := rand.New(rand.NewPCG(20261128, 1))
	for hits := 0; hits < kills && !t.Failed(); {
		hits += r.tortureWarming(rng)
		r.must("resume") // nothing of it is for a boot, nor for an operator
		r.must("run", "mount", "db")
		r.must("run", "warm", "db")
		r.check(true)
		r.deleteDetached()
	}
}

// tortureWarming cuts one warming off, and says how many processes it killed.
func (r *rig) tortureWarming(rng *rand.Rand) (hits int) {
	r.t.Helper()
	s := r.start("run", "warm", "db")
	time.Sleep(time.Duration(rng.IntN(900)) * time.Millisecond)
	switch how := rng.IntN(4); how {
	case 0:
		s.signal(syscall.SIGTERM)
		s.ends()
	case 1:
		hits++
		_ = s.Process.Kill()
		_ = s.Wait()
	default:
		op := []string{"snapshot", "unmount"}[how-2]
		if r.killed(time.Duration(rng.IntN(900))*time.Millisecond, "run", op, "db") {
			hits++
		}
		hits++
		_ = s.Process.Kill()
		_ = s.Wait()
		r.must("thaw", "--owned")
		for _, id := range r.unfinished() {
			if _, out := r.run("show", id); strings.Contains(out, "operation   "+op) {
				r.must("resume", id)
			}
		}
	}
	return hits
}
