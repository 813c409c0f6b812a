package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/linux/guard"
	"snaptastic/plan"
)

// creating starts a mount whose volumes stay in state creating, and waits until all were asked for.
func (s *story) creating() {
	s.t.Helper()
	if err := sandbox.SetFaults(s.sandboxDir(), sandbox.Latency{Create: time.Hour}); err != nil {
		s.t.Fatal(err)
	}
	before := len(s.journals())
	s.process = s.background("run", "mount", s.snapshotter)
	s.eventually("volumes", func() bool { return len(s.journals()) > before && s.recorded("create-volume:") == len(s.mounts) })
}

// recorded is how many steps of the newest run are done in its file: a kill leaves these, and not all that the run has told.
func (s *story) recorded(prefix string) (done int) {
	s.t.Helper()
	run, dir := s.lastRun(), s.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "runs"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := copySparse(filepath.Join(s.state(), "runs", run+".db"), filepath.Join(dir, "runs", run+".db")); err != nil {
		s.t.Fatal(err)
	}
	found, err := engine.New(engine.Config{StateDir: dir}).Show(plan.RunID(run))
	if err != nil {
		return 0 // it was being written
	}
	for id, rec := range found.Records {
		if strings.HasPrefix(string(id), prefix) && rec.State == journal.Done {
			done++
		}
	}
	return done
}

func (s *story) crash() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.process.Wait()
}

// available ends the time that volumes take to be created.
func (s *story) available() {
	s.t.Helper()
	s.calm()
	w := s.openSandbox()
	for _, v := range s.ours() {
		if err := w.EditVolume(v.ID, func(v *sandbox.Volume) { v.AvailableAt = time.Now() }); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *story) ours() []ec2.Volume {
	s.t.Helper()
	all, err := s.client.VolumesByTag(s.t.Context(), map[string]string{"role": s.snapshotter})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// loseDetached deletes the volumes that unmounts and abandoned runs left.
func (s *story) loseDetached() {
	s.t.Helper()
	for _, v := range s.ours() {
		if v.State != "available" {
			continue
		}
		if err := s.client.DeleteVolume(s.t.Context(), v.ID); err != nil {
			s.t.Fatal(err)
		}
	}
}

// interruptMount loses the volumes, which are detached, and kills the mount that is to restore them.
func (s *story) interruptMount() {
	s.t.Helper()
	s.loseDetached()
	s.creating()
	s.crash()
	s.available()
}

// unexpectedVolume attaches a volume of nobody under a name that is declared.
func (s *story) unexpectedVolume() {
	s.t.Helper()
	s.loseDetached()
	var err error
	if s.unexpected, err = s.openSandbox().AddVolume("/dev/sdg", 1, nil); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) detachUnexpected() {
	s.t.Helper()
	instance, err := s.openSandbox().InstanceID()
	if err == nil {
		err = s.client.DetachVolume(s.t.Context(), s.unexpected, instance, "/dev/sdg")
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// use has a program's working directory on a volume.
func (s *story) use() {
	s.t.Helper()
	sleep := exec.Command("sleep", "1000")
	sleep.Dir = s.mounts[0]
	if err := sleep.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = sleep
	s.t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
}

func (s *story) interruptUnmount() {
	s.t.Helper()
	s.crash() // the program that uses the volume
	s.hang("DetachVolume", time.Hour, "before")
	s.killInStep("detach", "run", "unmount", "solr")
	s.calm()
}

// freezing starts a snapshot whose call hangs while everything is frozen.
func (s *story) freezing() {
	s.t.Helper()
	s.hang("CreateSnapshot*", time.Hour, "before")
	s.process = s.background("run", "snapshot", "solr")
	s.frozen()
}

// leaveFrozen kills a snapshot and its guard in the freeze, and has a process write to it.
func (s *story) leaveFrozen() {
	s.t.Helper()
	s.must("run", "mount", s.snapshotter)
	s.freezing()
	both := []int{s.process.Process.Pid, guardOf(s.t, s.process.Process.Pid)}
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // neither sees the other die
		for _, pid := range both {
			_ = syscall.Kill(pid, signal)
		}
	}
	_ = s.process.Wait()
	s.calm()
	writer := exec.Command("touch", filepath.Join(s.mounts[0], "file"))
	if err := writer.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = guard.ThawMount(s.mounts[0])
		_ = writer.Wait()
	})
	wchan := fmt.Sprintf("/proc/%d/wchan", writer.Process.Pid)
	s.named["/proc/29704/wchan"] = wchan
	s.eventually("blocked writer", func() bool { b, _ := os.ReadFile(wchan); return strings.Contains(string(b), "rwsem") })
}

func (s *story) killSnapshot() {
	s.t.Helper()
	s.must("resume")
	s.freezing()
	s.crash()
	s.calm()
	for _, m := range s.mounts {
		s.writable(m)
	}
}

// week takes five sets in the place of all others, and lets them grow old.
func (s *story) week() {
	s.t.Helper()
	for _, sn := range s.snapshots() {
		if err := s.client.DeleteSnapshot(s.t.Context(), sn.ID); err != nil {
			s.t.Fatal(err)
		}
	}
	sets := s.sets(7*oneDay, 6*oneDay, 4*oneDay, 25*time.Hour, time.Hour)
	if _, err := s.openSandbox().AddImage(sandbox.Image{Disks: []sandbox.ImageVolume{{Device: "/dev/xvda", SnapshotID: sets[2][0], Size: 1}}}); err != nil {
		s.t.Fatal(err)
	}
}

// growOld leaves sets that have expired, the oldest one locked, and a volume that nobody snapshots.
func (s *story) growOld() {
	s.t.Helper()
	s.must("run", "mount", "solr")
	sets, w := s.sets(30*oneDay, 14*oneDay, 13*oneDay, 10*oneDay), s.openSandbox()
	v, err := s.client.CreateVolume(s.t.Context(), ec2.CreateVolumeRequest{ClientToken: "lost", Zone: sandbox.Zone, Size: 1, Type: "gp3",
		Tags: map[string]string{"role": "solr", "mount_point": "/lost", "snaptastic:token": "lost", "snaptastic:run": "lost"}})
	if err == nil {
		err = w.EditVolume(v.ID, func(v *sandbox.Volume) { v.Created = v.Created.Add(-30 * oneDay) })
	}
	if err == nil {
		err = w.EditSnapshot(sets[0][0], func(sn *sandbox.Snapshot) {
			sn.Lock = &sandbox.Lock{Mode: "governance", Created: sn.Started, Expires: sn.Started.Add(365 * oneDay)}
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// sets takes sets of these ages, and returns the ids of each.
func (s *story) sets(of ...time.Duration) (all [][]string) {
	s.t.Helper()
	w, known := s.openSandbox(), map[string]bool{}
	for _, age := range of {
		s.must("run", "snapshot", "solr", "--key", "night-"+age.String())
		var set []string
		for _, sn := range s.snapshots() {
			if known[sn.ID] {
				continue
			}
			known[sn.ID], set = true, append(set, sn.ID)
			if err := w.EditSnapshot(sn.ID, func(sn *sandbox.Snapshot) { ages(sn, age) }); err != nil {
				s.t.Fatal(err)
			}
		}
		all = append(all, set)
	}
	return all
}

// ages moves all times of a snapshot into the past.
func ages(sn *sandbox.Snapshot, by time.Duration) {
	sn.Started, sn.CompletedAt = sn.Started.Add(-by), sn.CompletedAt.Add(-by)
	for key, tag := range sn.Tags {
		if at, err := time.Parse(time.RFC3339, tag.Value); err == nil {
			tag.Value = at.Add(-by).Format(time.RFC3339)
			sn.Tags[key] = tag
		}
	}
}

func (s *story) gate() string { return filepath.Join(s.dir, "gate") }

// crashInHook kills the machine's mount while its last hook runs.
func (s *story) crashInHook() {
	s.t.Helper()
	s.must("run", "mount", s.snapshotter)
	s.must("run", "snapshot", "solr")
	s.must("run", "unmount", "solr")
	s.loseDetached()
	if err := os.WriteFile(s.gate(), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.killWhen("hook", func() bool { _, err := os.Stat(s.gate() + ".in"); return err == nil }, "run", "mount", s.snapshotter)
	_ = os.Remove(s.gate())
}

// shareAndMove leaves a set that is shared, its manifest, and an instance of the account that it is shared with.
func (s *story) shareAndMove() {
	s.t.Helper()
	s.must("run", "mount", "db")
	s.must("run", "snapshot", "db", "--wait")
	s.must("snapshots", "db", "--manifest", filepath.Join(s.dir, "db.manifest"))
	s.must("run", "unmount", "db")
	s.world = vault
}

// denied takes a permission from the role.
func (s *story) denied() {
	s.t.Helper()
	s.must("run", "mount", "solr")
	all := document(s.t, "docs/iam-policy.json")
	less := strings.Replace(all, "\"ec2:CreateSnapshot\",", "", -1)
	policy, err := sandbox.ParsePolicy([]byte(less))
	if err == nil {
		err = sandbox.Restrict(s.sandboxDir(), false, policy)
	}
	if err != nil || less == all {
		s.t.Fatalf("the role may still do it: %v", err)
	}
}
