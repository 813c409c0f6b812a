package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"

	"snaptastic/ec2/sandbox"
)

// TestTortureWarming kills warmings at random moments, by themselves and beside snapshots and unmounts that are killed as well. Each
// time the volumes are as they should be, nothing waits for an operator, and the next warming finishes. What was read of the
// devices before and after the kills is together at most 1.05 times what is in use.
func TestTortureWarming(t *testing.T) {
	t.Parallel()
	kills := tortureKills(t, 16) / 2
	r := newRig(t, 2, "ext4", "--create-time=30ms", "--attach-time=30ms", "--detach-time=20ms", "--snapshot-time=50ms", "--latency=3ms")
	text, err := os.ReadFile(r.settings)
	if err == nil {
		err = os.WriteFile(r.settings, []byte(strings.ReplaceAll(string(text), "size = 1\n", "size = 1\n    warm = [\"data/*\"]\n    warm_rate = 32\n")), 0o600)
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
		if err := os.WriteFile(filepath.Join(m, "data", "file"), []byte(strings.Repeat("x", 96<<20)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.must("run", "snapshot", "db")
	rng := tortureSeed(1)
	hits, rounds, most, read, allowed := 0, 0, 0.0, int64(0), 0.0
	for ; hits < kills && !t.Failed(); rounds++ {
		r.lose() // what was read once is not read again
		r.must("run", "mount", "db")
		before := r.sectorsRead()
		hits += r.tortureWarming(rng)
		r.must("resume") // nothing of it is for a boot, nor for an operator
		r.must("run", "mount", "db")
		inUse := r.warmed()
		for device, now := range r.sectorsRead() {
			was, same := before[device]
			if !same { // it was unmounted, and mounted anew
				continue
			}
			share := float64(now-was) * 512 / float64(inUse)
			if most = max(most, share); share > 1.3 { // the last mark that is in the journal is older where the disk is slow
				t.Errorf("%s was read %.3f times", device, share)
			}
			read, allowed = read+(now-was)*512, allowed+1.05*float64(inUse)
		}
		r.check(true)
		r.deleteDetached()
	}
	if float64(read) > allowed {
		t.Errorf("%d bytes were read, want at most %.0f", read, allowed)
	}
	t.Logf("%d kills in %d rounds; %.3f times what is in use was read, at most %.3f times of one device", hits, rounds, 1.05*float64(read)/max(allowed, 1), most)
}

// warmed finishes the warming and says how many bytes are in use on each volume: the least of them.
func (r *rig) warmed() int64 {
	r.t.Helper()
	var end struct {
		Lanes []struct {
			Warming struct {
				InUse int64 `json:"in_use_bytes"`
			} `json:"warming"`
		} `json:"lanes"`
	}
	cmd := r.command("--log-level", "off", "run", "warm", "db", "-o", "json")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &end)
	}
	if err != nil || len(end.Lanes) != len(r.mounts) {
		r.t.Fatalf("%v: %s", err, out)
	}
	inUse := min(end.Lanes[0].Warming.InUse, end.Lanes[1].Warming.InUse)
	if inUse == 0 {
		r.t.Fatalf("nothing was read: %s", out)
	}
	return inUse
}

// sectorsRead is how much the kernel has read of each mounted device, in sectors of 512 bytes, by the volume's device and mount.
func (r *rig) sectorsRead() map[string]int64 {
	r.t.Helper()
	all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(filepath.Join(r.dir, "mnt")))
	if err != nil {
		r.t.Fatal(err)
	}
	read := map[string]int64{}
	for _, m := range all {
		text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", m.Major, m.Minor))
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 3 {
			r.t.Fatalf("%v: %s", err, text)
		}
		n, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			r.t.Fatal(err)
		}
		read[fmt.Sprintf("%s (%s, mount %d)", m.Mountpoint, m.Source, m.ID)] = n
	}
	return read
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
