package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTortureOfAFleet takes snapshots of three hosts over and over, with now and then a restore or a drill, and kills, stops or cuts off
// whatever has a part in it at random moments. After each round: nothing was frozen for longer than max_hold, each set is whole or gone,
// nothing is left over, no key made two snapshots, and the counters prove each new set.
//
// SNAPTASTIC_TORTURE sets how many blows there are in all; without it a short form runs. SNAPTASTIC_TORTURE_RIGS are worked on
// side by side, and SNAPTASTIC_TORTURE_SEED repeats what was dealt.
func TestTortureOfAFleet(t *testing.T) {
	needFleet(t)
	if testing.Short() {
		t.Skip("kills at random take more than five minutes: make torture")
	}
	blows, rigs := number("SNAPTASTIC_TORTURE", 6), 1
	if os.Getenv("SNAPTASTIC_TORTURE") != "" {
		rigs = number("SNAPTASTIC_TORTURE_RIGS", 4)
	}
	seed := number("SNAPTASTIC_TORTURE_SEED", int(time.Now().Unix()))
	t.Setenv("SNAPTASTIC_SETTLE", "1s")
	t.Setenv("SNAPTASTIC_LAG", "500ms")
	t.Run("all", func(t *testing.T) { // its end is waited for before the environment is as it was
		for i := range rigs {
			t.Run(fmt.Sprintf("seed %d", seed+i), func(t *testing.T) {
				t.Parallel()
				s := &storm{rig: newRig(t, 3, func(r *rig) { r.lead, r.hold, r.maxHold = "4s", "700ms", "4s" }), t: t, rng: rand.New(rand.NewPCG(uint64(seed+i), 14))}
				s.blow(blows/rigs + 1)
			})
		}
	})
}

func number(env string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(env)); err == nil {
		return n
	}
	return otherwise
}

type storm struct {
	*rig
	t        *testing.T
	rng      *rand.Rand
	hosts    []*testHost
	proven   map[string]bool // larger sets that were looked at
	restored bool            // in this round: the volumes that it replaced are kept
	counts   map[string]int
}

func (s *storm) between(a, b time.Duration) time.Duration {
	return a + time.Duration(s.rng.Int64N(int64(b-a)))
}

func (s *storm) blow(blows int) {
	s.proven, s.counts = map[string]bool{}, map[string]int{}
	for _, n := range sortedNames(s.rig.hosts) {
		s.hosts = append(s.hosts, s.rig.hosts[n])
		s.must(s.rig.hosts[n], "run", "mount", "db")
	}
	for done, round := 0, 0; done < blows && !s.t.Failed(); round++ {
		if round%6 == 5 {
			s.calm()
			continue
		}
		done += s.round(round)
	}
	if !s.t.Failed() {
		s.calm()
	}
	s.t.Logf("%v", s.counts)
}

// round begins one operation, lets all blows fall that were dealt, waits for the verdict and looks at everything.
func (s *storm) round(n int) (dealt int) {
	operation := []string{"snapshot", "snapshot", "snapshot", "snapshot", "snapshot", "snapshot", "cancel", "verify", "restore"}[s.rng.IntN(9)]
	set := s.newest()
	if set == "" && operation != "cancel" {
		operation = "snapshot"
	}
	var l *load
	if operation != "restore" { // which unmounts what the load writes to
		for _, h := range s.hosts {
			_ = os.Remove(filepath.Join(h.mount, "numbers"))
		}
		l = startPacedLoad(s.t, 2*time.Millisecond, s.hosts...)
	}
	args := map[string][]string{"verify": {"verify", "shards", "--again", strconv.Itoa(n), "--at-once", "3"}, "restore": {"restore", "shards", "--set", set, "--at-once", "3"}}[operation]
	if args == nil {
		args = []string{"snapshot", "shards"}
	}
	s.restored = s.restored || operation == "restore"
	command := s.command(args...)
	begun := time.Now()
	deeds := s.deal(command, operation)
	for len(deeds) > 0 {
		slices.SortStableFunc(deeds, func(a, b deed) int { return cmp.Compare(a.at, b.at) })
		d := deeds[0]
		deeds = deeds[1:]
		time.Sleep(d.at - time.Since(begun))
		if d.do() && d.name != "" {
			s.t.Logf("round %d, %s: after %s: %s", n, operation, time.Since(begun).Round(time.Millisecond), d.name)
			s.counts[strings.Fields(d.name)[0]+" "+strings.Fields(d.name)[1]]++
			dealt++
		}
	}
	s.everythingRuns()
	s.settled()
	command.kill()
	if l != nil {
		if last := l.end(); last == 0 {
			s.t.Errorf("round %d: the load wrote nothing", n)
		}
		if limit := 4*time.Second + slack; l.longest > limit { // max_hold
			s.t.Errorf("round %d: a write took %s", n, l.longest)
		}
	} else {
		s.finishRestore(set)
	}
	s.look(fmt.Sprintf("round %d, %s", n, operation))
	return dealt
}

// calm takes a snapshot that nothing happens to: whatever the blows have left, it is labelled.
func (s *storm) calm() {
	s.everythingRuns()
	for _, h := range s.hosts {
		_ = os.Remove(filepath.Join(h.mount, "numbers"))
	}
	l := startPacedLoad(s.t, 2*time.Millisecond, s.hosts...)
	var err error
	for range 5 {
		if err = s.fleet(nil, "snapshot", "shards"); err == nil || !busy.MatchString(err.Error()) {
			break
		}
	}
	l.end()
	if err != nil {
		s.t.Errorf("when all is calm: %v", err)
	}
	s.look("calm")
}

// busy is what a machine says that has too much to do for the lead of these snapshots.
var busy = regexp.MustCompile(`too late|is over, it is|no worker took the order in time|no answer in time`)

// command is a command of the fleet that can be killed.
func (s *storm) command(args ...string) *process {
	bin, _ := programs()
	return s.spawn(bin.fleet, append(args, "--config", s.dir+"/fleet.hcl", "-o", "json")...)
}

// settled waits until nothing of the cluster is under way.
func (s *storm) settled() {
	s.t.Helper()
	end := time.Now().Add(6 * time.Minute)
	var list []work
	for time.Now().Before(end) {
		if err := s.fleet(&list, "status", "shards"); err == nil && !anyRunning(list) {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	s.t.Fatalf("there is no verdict: %+v", list)
}

// finishRestore has the same command go on, as its error says; then the volumes that were replaced are not needed.
func (s *storm) finishRestore(set string) {
	var err error
	for range 3 {
		if err = s.fleet(nil, "restore", "shards", "--set", set, "--at-once", "3"); err == nil {
			break
		}
	}
	if err != nil {
		s.t.Errorf("a restore of %s does not end: %v", set, err)
	}
}

// look holds everything against what must be true between any two commands.
func (s *storm) look(when string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("seen after %s", when)
		}
	}()
	s.nothingFrozen(s.t)
	for _, h := range s.hosts {
		s.eventually("no program is left on "+h.name, func() bool { return s.programOf(h) == 0 })
		s.eventually("no guard is left on "+h.name, func() bool {
			owned, _ := filepath.Glob(filepath.Join(h.dir, "state", "frozen", "*.owned.json"))
			return len(owned) == 0
		})
		for _, run := range s.unfinished(h) {
			s.t.Errorf("%s has the unfinished run %s", h.name, run)
		}
	}
	sets, unlabelled := s.sets()
	for _, id := range unlabelled {
		s.t.Errorf("snapshot %s is not labelled", id)
	}
	for set, members := range sets {
		if len(members) != len(s.hosts) {
			s.t.Errorf("set %s has the members %v", set, members)
			continue
		}
		if !s.proven[set] {
			s.prove(set, members)
			s.proven[set] = true
			s.counts["sets proven"]++
		}
	}
	s.volumesAndLoops()
	for key, n := range s.createdByKey() {
		if n > 1 {
			s.t.Errorf("key %s made %d snapshots", key, n)
		}
	}
}

// volumesAndLoops wants a volume for each host and a loop device for each volume.
func (s *storm) volumesAndLoops() {
	var used []string
	out, err := exec.Command("losetup", "--list", "--noheadings", "--output", "BACK-FILE").CombinedOutput()
	if err != nil {
		s.t.Fatalf("losetup: %v %s", err, out)
	}
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, s.dir+"/sandbox/vol/vol-") { // those of proofs go by themselves, a while after their unmount
			used = append(used, filepath.Base(f))
		}
	}
	if len(used) != len(s.hosts) {
		s.t.Errorf("loop devices of %v", used)
	}
	files, _ := filepath.Glob(s.dir + "/sandbox/vol/vol-*")
	for _, f := range files {
		id := filepath.Base(f)
		switch {
		case slices.Contains(used, id):
		case s.restored: // replaced by it
			bin, _ := programs()
			if err := command(bin.snaptastic, "--sandbox="+s.dir+"/sandbox", "sandbox", "delete-volume", id, "--yes"); err != nil {
				s.t.Error(err)
			}
		default:
			s.t.Errorf("volume %s is left", id)
		}
	}
	s.restored = false
}

// prove mounts the snapshots of a set, read-only and without replaying a journal, and wants their counters to agree.
func (s *storm) prove(set string, members map[string]string) {
	var parts []*testHost
	for shard, snapshot := range members {
		at := filepath.Join(s.dir, "proof", shard)
		if err := os.MkdirAll(at, 0o755); err != nil {
			s.t.Fatal(err)
		}
		// Of a file system that was frozen there is nothing to replay. On a read-only device any other one is not mounted at all.
		if err := command("mount", "-t", "ext4", "-o", "ro,loop", filepath.Join(s.dir, "sandbox/vol", snapshot), at); err != nil {
			s.t.Errorf("set %s, shard %s: it was not frozen: %v", set, shard, err)
			return
		}
		defer func() { _ = syscall.Unmount(at, 0) }()
		parts = append(parts, &testHost{mount: at})
	}
	if largest, missing := numbers(s.t, parts...); missing != 0 || largest == 0 {
		s.t.Errorf("set %s is not of one instant: of %d numbers %d is missing", set, largest, missing)
	}
}
