package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// simulation is a machine, its account and its state folder: what survives the
// process.
type simulation struct {
	t       *testing.T
	k       *kernel
	sandbox *sandbox.Sandbox
	client  *ec2.Client
	store   *journal.Store
	taken   *takes
	spec    recipe.Spec
	options recipe.Options
	id      ec2.Identity
	runs    int
	back    map[string]recipe.Back // of the next restore
	copies  []recipe.SetCopy       // of the next copy
}

func newSimulation(t *testing.T, lanes int) *simulation {
	t.Helper()
	u := &simulation{t: t, taken: &takes{frozen: map[string]int{}}, k: &kernel{t: t, mounts: map[string]string{}, frozen: map[string]bool{}, boot: "boot-1", read: map[string]int{}}}
	u.power(memory(t))
	var err error
	if u.id, err = u.client.Metadata().Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.spec = recipe.Spec{Name: "db", FilterTags: map[string]string{"role": "db"}, Consistency: "group", OnMissing: "create"}
	for i := range lanes {
		u.spec.Volumes = append(u.spec.Volumes, recipe.Volume{Device: "/dev/sd" + string(rune('f'+i)), MountPoint: fmt.Sprintf("/m/%c", 'a'+i),
			Size: 1, FileSystem: "xfs", VolumeType: "gp3", DeleteOnTermination: i%2 == 0, Description: "test", Warm: &recipe.Warm{}})
	}
	return u
}

// power opens the account and the state folder in dir.
func (u *simulation) power(dir string) {
	u.t.Helper()
	u.k.dir = filepath.Join(dir, "sandbox")
	u.sandbox, u.client = openSandbox(u.t, u.k.dir)
	var err error
	if u.store, err = journal.OpenStore(filepath.Join(dir, "state")); err != nil {
		u.t.Fatal(err)
	}
}

// clone is another machine in the same state, whose files are copies. A point of a scenario costs much less so than with
// everything that comes before it done again.
func (u *simulation) clone(t *testing.T) *simulation {
	t.Helper()
	dir, from := memory(t), filepath.Dir(u.k.dir)
	copyTree(t, from, dir)
	c := &simulation{t: t, taken: &takes{frozen: maps.Clone(u.taken.frozen)}, spec: u.spec, options: u.options, id: u.id, runs: u.runs, back: u.back, copies: u.copies,
		k: &kernel{t: t, mounts: map[string]string{}, frozen: map[string]bool{}, formed: u.k.formed, boot: u.k.boot, read: map[string]int{}}}
	for target, source := range u.k.mounts {
		c.k.mounts[target] = dir + strings.TrimPrefix(source, from)
	}
	c.power(dir)
	return c
}

// process is one life of the program: it begins the operation, or goes on with
// the run that the life before it left.
func (u *simulation) process(op string, rollback bool, fuseAt int) (runner.Result, *failpoint) {
	u.t.Helper()
	known, _ := recipe.Named(op)
	p, err := known.Plan(recipe.Request{Spec: u.spec, Options: u.options, Back: u.back, Copies: u.copies, CopyFrom: u.id.Region, Target: recipe.Target{InstanceID: u.id.InstanceID, Region: u.id.Region, Zone: u.id.Zone, AccountID: u.id.AccountID},
		Spares: []string{"/dev/sdp", "/dev/sdo", "/dev/sdn"}})
	if err != nil {
		u.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := &failpoint{at: fuseAt, kill: cancel}
	run := u.open(op, p)
	defer run.Close()
	h := host{u.k, f}
	world := &steps.Env{Cloud: cloud{u.client, u.k, f, u.taken}, CloudIn: u.cloudIn(f), Host: h, Freezer: freezer{h},
		ScratchDir: u.scratchDir(), Instance: steps.Instance{ID: u.id.InstanceID, Zone: u.id.Zone, Region: u.id.Region, Account: u.id.AccountID}}
	conf := runner.Config{Plan: run.Plan(), Run: run.Meta().Run, Records: run.Records(), Journal: failpointJournal{run, f}, Handlers: steps.Handlers(world),
		BootID: u.k.boot, Settle: 5 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, StopGrace: time.Second, Timeout: 20 * time.Second}
	var res runner.Result
	if rollback {
		res = runner.Rollback(ctx, conf)
	} else {
		res = runner.Execute(ctx, conf)
	}
	if !f.triggered { // the process lived to write the outcome
		m := run.Meta()
		m.Outcome = res.Outcome
		if err := run.SetMeta(m); err != nil {
			u.t.Fatal(err)
		}
	}
	return res, f
}

func (u *simulation) open(op string, p *plan.Plan) *journal.Run {
	u.t.Helper()
	runs := u.list()
	for _, r := range runs {
		if !r.Outcome.Ended() && r.Operation == op {
			run, err := unlocked(func() (*journal.Run, error) { return u.store.Resume(r.Run) })
			if err != nil {
				u.t.Fatal(err)
			}
			return run
		}
	}
	u.runs++
	run, err := unlocked(func() (*journal.Run, error) {
		return u.store.Begin(journal.Meta{Run: plan.RunID(fmt.Sprintf("20260101T0000%02d000-%s", u.runs, op)), InstanceID: u.id.InstanceID, BootID: u.k.boot}, p)
	})
	if err != nil {
		u.t.Fatal(err)
	}
	return run
}

func (u *simulation) list() []journal.Summary {
	u.t.Helper()
	runs, err := unlocked(func() ([]journal.Summary, error) {
		runs, err := u.store.List()
		for _, r := range runs {
			if r.Live {
				err = cmp.Or(err, journal.ErrLive)
			}
		}
		return runs, err
	})
	if err != nil {
		u.t.Fatal(err)
	}
	return runs
}

// unlocked opens something again and again for a while. Other tests of this process start programs, and a child holds what its
// parent had locked until it executes its own program.
func unlocked[T any](open func() (T, error)) (opened T, err error) {
	for range 1000 {
		if opened, err = open(); err == nil {
			return opened, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return opened, err
}

type failpointJournal struct {
	*journal.Run
	f *failpoint
}

func (j failpointJournal) Commit(e []journal.Entry, done func(error)) {
	if err := j.f.reach("before a journal write"); err != nil {
		done(err)
		return
	}
	j.Run.Commit(e, func(err error) {
		if err == nil {
			err = j.f.reach("after a journal write")
		}
		done(err)
	})
}

// done runs an operation undisturbed.
func (u *simulation) done(op string) {
	u.t.Helper()
	if res, _ := u.process(op, false, 0); res.Outcome != journal.RunDone {
		u.t.Fatalf("%s ended as %q: %+v %v", op, res.Outcome, res.Failures, res.Err)
	}
}

// write puts a file on every mounted volume.
func (u *simulation) write(text string) {
	u.t.Helper()
	for target, path := range u.k.mounts {
		d, err := readDisk(path)
		if err != nil || d == nil {
			u.t.Fatalf("%s: %v", target, err)
		}
		d.Files["precious"] = text + " of " + target
		if err := writeDisk(path, *d); err != nil {
			u.t.Fatal(err)
		}
	}
}

// data checks that every volume is mounted and holds what was written.
func (u *simulation) data(text string) {
	u.t.Helper()
	for _, v := range u.spec.Volumes {
		path := u.k.mounts[v.MountPoint]
		if path == "" {
			u.t.Errorf("%s is not mounted", v.MountPoint)
			continue
		}
		d, err := readDisk(path)
		if err != nil || d == nil {
			u.t.Errorf("%s: no file system: %v", v.MountPoint, err)
			continue
		}
		if got, want := d.Files["precious"], text+" of "+v.MountPoint; text != "" && got != want {
			u.t.Errorf("%s holds %q instead of %q", v.MountPoint, got, want)
		}
	}
}

// volumes are the account's data volumes, whoever made them.
func (u *simulation) volumes() (all []ec2.Volume) {
	u.t.Helper()
	vs, err := u.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil {
		u.t.Fatal(err)
	}
	return vs
}

func (u *simulation) snapshots() []ec2.Snapshot {
	u.t.Helper()
	s, err := u.client.Snapshots(context.Background(), ec2.SnapshotQuery{})
	if err != nil {
		u.t.Fatal(err)
	}
	return s
}

// warmed: each piece was read, by each process once at most. The disks here are faster than the journal, so that a kill loses more marks
// than it does elsewhere.
func (u *simulation) warmed() {
	u.t.Helper()
	if pieces := len(u.spec.Volumes) * warmPieces; len(u.k.read) != pieces {
		u.t.Errorf("%d of %d pieces were read", len(u.k.read), pieces)
	}
	for piece, n := range u.k.read {
		if n > 3 { // it was killed twice
			u.t.Errorf("%s was read %d times", piece, n)
		}
	}
}

// mountedOnce: each declared volume exists, is attached and mounted exactly
// once, and nothing else was made.
func (u *simulation) mountedOnce() {
	u.t.Helper()
	vs := u.volumes()
	if len(vs) != len(u.spec.Volumes) || len(u.k.mounts) != len(u.spec.Volumes) {
		u.t.Errorf("%d volumes and %d mounts for %d declared", len(vs), len(u.k.mounts), len(u.spec.Volumes))
	}
	seen := map[string]bool{}
	for _, v := range vs {
		a, on := v.On(u.id.InstanceID)
		if !on || a.State != "attached" {
			u.t.Errorf("%s is %s and not attached", v.ID, v.State)
		}
		for _, want := range u.spec.Volumes {
			if want.MountPoint == v.Tags["mount_point"] {
				if seen[want.MountPoint] {
					u.t.Errorf("two volumes for %s", want.MountPoint)
				}
				seen[want.MountPoint] = true
				if a.DeleteOnTermination != want.DeleteOnTermination {
					u.t.Errorf("%s: delete on termination is %v", v.ID, a.DeleteOnTermination)
				}
			}
		}
	}
	u.noneFrozen()
}

func (u *simulation) noneFrozen() {
	u.t.Helper()
	if len(u.k.frozen) > 0 {
		u.t.Errorf("left frozen: %v", sortedKeys(u.k.frozen))
	}
}

// labelled checks every labelled snapshot and counts them; unlabelled ones are
// a leak.
func (u *simulation) labelled(want int) {
	u.t.Helper()
	n := 0
	for _, s := range u.snapshots() {
		if s.Tags["snaptastic:state"] != "consistent" {
			u.t.Errorf("snapshot %s is left %q", s.ID, s.Tags["snaptastic:state"])
			continue
		}
		n++
		if got := u.taken.frozen[s.ID]; got != len(u.spec.Volumes) {
			u.t.Errorf("labelled snapshot %s was taken while %d of %d file systems were frozen", s.ID, got, len(u.spec.Volumes))
		}
		if s.Tags["mount_point"] == "" || s.Tags["role"] != "db" || s.Tags["created"] == "" {
			u.t.Errorf("labelled snapshot %s lacks tags: %v", s.ID, s.Tags)
		}
	}
	if n != want {
		u.t.Errorf("%d labelled snapshots instead of %d", n, want)
	}
	u.noneFrozen()
}

// unlabelled checks the snapshots of a part of a larger set, each of which is there once and waits for its label.
func (u *simulation) unlabelled(want int) {
	u.t.Helper()
	all := u.snapshots()
	if len(all) != want {
		u.t.Errorf("%d snapshots instead of %d", len(all), want)
	}
	for _, s := range all {
		if got := u.taken.frozen[s.ID]; got != len(u.spec.Volumes) {
			u.t.Errorf("snapshot %s was taken while %d of %d file systems were frozen", s.ID, got, len(u.spec.Volumes))
		}
		if t := s.Tags; t["snaptastic:state"] != "unverified" || t["mount_point"] == "" || t["role"] != "db" || t["created"] != "" || t["snaptastic:larger-set"] != "S" {
			u.t.Errorf("snapshot %s has %v", s.ID, t)
		}
	}
	u.noneFrozen()
}

// detachedAll: the volumes remain, attached to nothing, mounted nowhere.
func (u *simulation) detachedAll() {
	u.t.Helper()
	vs := u.volumes()
	if len(vs) != len(u.spec.Volumes) || len(u.k.mounts) != 0 {
		u.t.Errorf("%d volumes, mounts %v", len(vs), u.k.mounts)
	}
	for _, v := range vs {
		if v.State != "available" {
			u.t.Errorf("%s is %s", v.ID, v.State)
		}
	}
}

// scenario is one row of the matrix: how the world stands before, and what
// must hold after a resume and after a rollback.
type scenario struct {
	oneLane bool // more would add nothing
	name    string
	op      string
	before  func(u *simulation)
	after   func(u *simulation)                // resumed
	undone  func(u *simulation, killed string) // rolled back
}

func scenarios() []scenario {
	mounted := func(u *simulation) { u.done("mount"); u.write("one") }
	return []scenario{
		{name: "mount of new volumes", op: "mount",
			after:  func(u *simulation) { u.mountedOnce(); u.data("") },
			undone: func(u *simulation, _ string) { u.nothingButKept() }},
		{name: "mount of a volume that dies at birth", op: "mount", oneLane: true,
			before: func(u *simulation) {
				if err := sandbox.SetFaults(u.k.dir, sandbox.Latency{}, sandbox.Fault{Action: "CreateVolume", Effect: "error", Count: 1}); err != nil {
					u.t.Fatal(err)
				}
			},
			after:  func(u *simulation) { u.mountedOnce(); u.data("") },
			undone: func(u *simulation, _ string) { u.nothingButKept() }},
		{name: "mount from snapshots", op: "mount",
			before: func(u *simulation) { mounted(u); u.done("snapshot"); u.done("unmount"); u.loseVolumes() },
			after:  func(u *simulation) { u.mountedOnce(); u.data("one"); u.labelled(len(u.spec.Volumes)) },
			undone: func(u *simulation, _ string) { u.nothingButKept(); u.labelled(len(u.spec.Volumes)) }},
		{name: "snapshot", op: "snapshot", before: mounted,
			after: func(u *simulation) { u.labelled(len(u.spec.Volumes)); u.mountedOnce(); u.data("one") },
			undone: func(u *simulation, _ string) {
				if n := len(u.snapshots()); n != 0 && n != len(u.spec.Volumes) {
					u.t.Errorf("%d snapshots are left", n)
				}
				u.labelled(len(u.snapshots()))
				u.mountedOnce()
				u.data("one")
			}},
		{name: "snapshot of a larger set", op: "snapshot",
			before: func(u *simulation) {
				mounted(u)
				u.options = recipe.Options{"set": "S", "members": "9", "defer-label": true}
			},
			after:  func(u *simulation) { u.unlabelled(len(u.spec.Volumes)); u.mountedOnce(); u.data("one") },
			undone: func(u *simulation, _ string) { u.unlabelled(0); u.mountedOnce(); u.data("one") }},
		{name: "snapshot and clean up", op: "snapshot",
			before: func(u *simulation) {
				mounted(u)
				u.done("snapshot")
				u.done("snapshot")
				u.spec.CleanAfter, u.spec.Keep = true, &snapset.Keep{Last: 1}
			},
			after:  func(u *simulation) { u.cleaned(); u.mountedOnce(); u.data("one") },
			undone: func(u *simulation, _ string) { u.cleaned(); u.mountedOnce(); u.data("one") }},
		{name: "snapshot, lock and share", op: "snapshot",
			before: func(u *simulation) {
				mounted(u)
				u.spec.Lock = &recipe.Lock{Mode: recipe.Governance, Days: 14}
				u.spec.ShareWith = []string{vault.Account}
			},
			after: func(u *simulation) { u.labelled(len(u.spec.Volumes)); u.locked(); u.shared(); u.mountedOnce() },
			undone: func(u *simulation, _ string) {
				u.labelled(len(u.snapshots()))
				u.locked()
				u.shared()
				u.mountedOnce()
			}},
		{name: "copy", op: "copy",
			before: func(u *simulation) { mounted(u); u.done("snapshot"); u.done("snapshot"); u.lacks(2) },
			after:  func(u *simulation) { u.copied(2, true) },
			undone: func(u *simulation, _ string) { u.copied(2, false) }},
		{name: "verify", op: "verify",
			before: func(u *simulation) { mounted(u); u.done("snapshot") },
			after:  func(u *simulation) { u.takenDown(); u.drilled(true) },
			undone: func(u *simulation, _ string) { u.takenDown(); u.drilled(false) }},
		{name: "warm", op: "warm",
			before: func(u *simulation) {
				mounted(u)
				u.done("snapshot")
				u.done("unmount")
				u.loseVolumes()
				u.done("mount")
			},
			after:  func(u *simulation) { u.warmed(); u.mountedOnce(); u.data("one") },
			undone: func(u *simulation, _ string) { u.mountedOnce(); u.data("one") }},
		{name: "unmount", op: "unmount", before: mounted,
			after:  func(u *simulation) { u.detachedAll() },
			undone: func(u *simulation, _ string) { u.mountedOnce(); u.data("one") }},
		{name: "restore", op: "restore", before: func(u *simulation) { mounted(u); u.done("snapshot"); u.write("two") },
			after:  func(u *simulation) { u.swapped(true, true); u.data("one") },
			undone: func(u *simulation, _ string) { u.swapped(false, false); u.data("two") }},
		{name: "restore of what a restore replaced", op: "restore",
			before: func(u *simulation) {
				mounted(u)
				u.done("snapshot")
				u.write("two")
				u.done("restore")
				u.write("three")
				u.back = u.replaced()
			},
			after:  func(u *simulation) { u.swapped(false, true); u.data("two") },
			undone: func(u *simulation, _ string) { u.swapped(true, true); u.data("three") }},
		{name: "restore of volumes that are not there", op: "restore", oneLane: true,
			before: func(u *simulation) { mounted(u); u.done("snapshot"); u.done("unmount"); u.loseVolumes() },
			after:  func(u *simulation) { u.mountedOnce(); u.data("one") },
			undone: func(u *simulation, _ string) { u.keptAfterRestore() }},
	}
}

// locked: nothing is locked that has no label, and where the run says that it has locked its set, each snapshot is, for two
// weeks. A run that is rolled back keeps what it has labelled, and locks nothing more.
func (u *simulation) locked() {
	u.t.Helper()
	j := u.lastJournal()
	defer j.Close()
	rec := j.Records()["lock-snapshots"]
	if rec.State == journal.Failed {
		u.t.Errorf("the lock failed: %s", rec.Error)
	}
	all := rec.State == journal.Done
	locks, err := u.client.LockedSnapshots(context.Background())
	if err != nil {
		u.t.Fatal(err)
	}
	for _, s := range u.snapshots() {
		lock := locks[s.ID]
		if lock.Locked() && s.Tags["snaptastic:state"] != "consistent" {
			u.t.Errorf("%s is locked without a label", s.ID)
		}
		if all && (lock.State != ec2.Governance || lock.Days != 14) {
			u.t.Errorf("%s has the lock %+v", s.ID, lock)
		}
	}
}

// shared: nothing is shared that has no label, and where the run says that it has shared its set, each snapshot is.
func (u *simulation) shared() {
	u.t.Helper()
	j := u.lastJournal()
	defer j.Close()
	rec := j.Records()["share-set"]
	if rec.State == journal.Failed {
		u.t.Errorf("the sharing failed: %s", rec.Error)
	}
	all := rec.State == journal.Done
	for _, s := range u.snapshots() {
		accounts, err := u.client.SharedWith(context.Background(), s.ID)
		if err != nil {
			u.t.Fatal(err)
		}
		labelled := s.Tags["snaptastic:state"] == "consistent"
		if len(accounts) > 0 && !labelled || len(accounts) == 0 && labelled && all {
			u.t.Errorf("%s, labelled %t, is shared with %v", s.ID, labelled, accounts)
		}
	}
}

// lastJournal opens that of the last run.
func (u *simulation) lastJournal() *journal.Journal {
	u.t.Helper()
	runs := u.list()
	j, err := u.store.Read(runs[len(runs)-1].Run)
	if err != nil {
		u.t.Fatal(err)
	}
	return j
}

// replaced are the volumes that the last run replaced.
func (u *simulation) replaced() map[string]recipe.Back {
	u.t.Helper()
	j := u.lastJournal()
	defer j.Close()
	records := j.Records()
	back, err := recipe.Replaced(j.Plan(), func(id plan.StepID) json.RawMessage { return records[id].Input }, func(id plan.StepID) json.RawMessage { return records[id].Output })
	if err != nil || len(back) != len(u.spec.Volumes) {
		u.t.Fatalf("replaced are %v, %v", back, err)
	}
	return back
}

// swapped: all volumes are mounted, either all of the restored ones or all of those that were there before. What is not mounted
// is detached and says why: replaced by those that are, or made for nothing.
func (u *simulation) swapped(restored, othersReplaced bool) {
	u.t.Helper()
	if len(u.k.mounts) != len(u.spec.Volumes) {
		u.t.Errorf("mounted are %v", u.k.mounts)
	}
	handedOver := u.handedOver()
	attached, others := 0, 0
	for _, v := range u.volumes() {
		ofRestore := strings.HasSuffix(v.Tags["snaptastic:run"], "-restore")
		at, on := v.On(u.id.InstanceID)
		replaced, detached := v.Tags["snaptastic:replaced"], v.Tags["snaptastic:detached"]
		if on {
			attached++
			for _, want := range u.spec.Volumes {
				if want.MountPoint == v.Tags["mount_point"] && at.DeleteOnTermination != want.DeleteOnTermination {
					u.t.Errorf("%s: delete on termination is %v", v.ID, at.DeleteOnTermination)
				}
			}
			if ofRestore != restored || replaced+detached != "" {
				u.t.Errorf("attached is %s, which a restore made: %v, tags %v", v.ID, ofRestore, v.Tags)
			}
			continue
		}
		others++
		if v.State != "available" || detached == "" || othersReplaced && replaced == "" || !othersReplaced && !handedOver {
			u.t.Errorf("%s is left: %s, tags %v", v.ID, v.State, v.Tags)
		}
	}
	if n := len(u.spec.Volumes); attached != n || othersReplaced && others != n || !othersReplaced && others != 0 && others != n {
		u.t.Errorf("%d volumes are attached and %d are left of %d declared", attached, others, n)
	}
	u.noneFrozen()
}

// handedOver: the last run came so far that its volumes may have been in use.
func (u *simulation) handedOver() bool {
	u.t.Helper()
	j := u.lastJournal()
	defer j.Close()
	return j.Records()["hand-over"].EverDone
}

// keptAfterRestore: nothing is mounted, and volumes are left only where they may have been in use.
func (u *simulation) keptAfterRestore() {
	u.t.Helper()
	for _, v := range u.volumes() {
		if v.State != "available" || v.Tags["snaptastic:detached"] == "" || !u.handedOver() {
			u.t.Errorf("%s is left: %s, tags %v", v.ID, v.State, v.Tags)
		}
	}
	if len(u.k.mounts) != 0 {
		u.t.Errorf("left mounted: %v", u.k.mounts)
	}
}

func (u *simulation) scratchDir() string { return filepath.Join(filepath.Dir(u.k.dir), "verify") }

// takenDown: of a drill nothing is left, and what is in use is as it was.
func (u *simulation) takenDown() {
	u.t.Helper()
	vs, err := u.client.VolumesByTag(context.Background(), map[string]string{snapset.TagPurpose: snapset.PurposeVerify})
	if err != nil {
		u.t.Fatal(err)
	}
	for _, v := range vs {
		u.t.Errorf("scratch volume %s is left: %s, %+v", v.ID, v.State, v.Attachments)
	}
	if left, _ := filepath.Glob(filepath.Join(u.scratchDir(), "*")); len(left) > 0 {
		u.t.Errorf("left are %v", left)
	}
	u.mountedOnce()
	u.data("one")
	u.labelled(len(u.spec.Volumes))
}

// drilled: all snapshots tell of the drill, or none does where that may be.
func (u *simulation) drilled(must bool) {
	u.t.Helper()
	verified, failed := 0, 0
	for _, s := range u.snapshots() {
		switch snapset.DrillOf(s.Tags, s.Started).State() {
		case snapset.Verified:
			verified++
		case snapset.DrillFailed:
			failed++
		}
	}
	if want := len(u.spec.Volumes); failed > 0 || verified != want && (must || verified > 0) {
		u.t.Errorf("%d of %d snapshots are verified, %d failed", verified, want, failed)
	}
}

// loseVolumes deletes what is detached, as the end of an instance would.
func (u *simulation) loseVolumes() {
	u.t.Helper()
	for _, v := range u.volumes() {
		if err := u.client.DeleteVolume(context.Background(), v.ID); err != nil {
			u.t.Fatal(err)
		}
	}
}

// nothingButKept: a rolled back mount leaves nothing, but for volumes that had
// been in use: those are detached, tagged, and kept.
func (u *simulation) nothingButKept() {
	u.t.Helper()
	j := u.lastJournal()
	defer j.Close()
	kept := map[string]bool{}
	for id, r := range j.Records() {
		point, is := strings.CutPrefix(string(id), "mount:")
		if is && r.EverDone {
			kept[point] = true
		}
	}
	for _, v := range u.volumes() {
		point := v.Tags["mount_point"]
		if !kept[point] || v.State != "available" || v.Tags["snaptastic:detached"] == "" {
			u.t.Errorf("volume %s of %s is left: %s, tags %v", v.ID, point, v.State, v.Tags)
		}
	}
	if len(u.k.mounts) != 0 {
		u.t.Errorf("left mounted: %v", u.k.mounts)
	}
	u.noneFrozen()
}

// TestCrashMatrix cuts every operation off before and after every journal
// write and every effect, and then resumes it, or rolls it back; every second
// time the recovery is cut off as well.
//
// With three volumes, which is heavy, it does so at every third point: each kind of
// step and each side of it is among them, and a point of its own with one volume.
// `make torture` takes all.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	whole := os.Getenv("SNAPTASTIC_TORTURE") != ""
	lanes := []int{1}
	if whole || withHeavy {
		lanes = append(lanes, 3)
	}
	total := 0
	for _, sc := range scenarios() {
		for _, n := range lanes {
			if sc.oneLane && n > 1 {
				continue
			}
			world := newSimulation(t, n)
			if sc.before != nil {
				sc.before(world)
			}
			probe := world.clone(t)
			_, f := probe.process(sc.op, false, 0)
			sc.after(probe)
			points := f.points
			step := 1
			if n > 1 && !whole {
				step = 3
			}
			for at := 1; at <= points; at += step {
				total += 2
				t.Run(fmt.Sprintf("%s/%d/resume/%d", sc.name, n, at), func(t *testing.T) {
					t.Parallel()
					u := world.clone(t)
					killed := u.crash(sc, false, at, points)
					if !u.over(sc) {
						res, _ := u.process(sc.op, false, 0)
						if res.Outcome != journal.RunDone {
							t.Fatalf("killed %s: resume ended as %q: %+v %v", killed, res.Outcome, res.Failures, res.Err)
						}
					}
					sc.after(u)
					if t.Failed() {
						t.Logf("killed %s", killed)
					}
				})
				t.Run(fmt.Sprintf("%s/%d/rollback/%d", sc.name, n, at), func(t *testing.T) {
					t.Parallel()
					u := world.clone(t)
					killed := u.crash(sc, true, at, points)
					if !u.over(sc) {
						res, _ := u.process(sc.op, true, 0)
						if res.Outcome == journal.RunDone && len(res.Kept) > 0 {
							sc.after(u) // what it made was labelled, and is kept
							return
						}
						if res.Outcome != journal.RolledBack {
							t.Fatalf("killed %s: rollback ended as %q: %+v %v", killed, res.Outcome, res.Failures, res.Err)
						}
					} else if u.outcome() == journal.RunDone {
						sc.after(u) // nothing was left to undo
						return
					}
					sc.undone(u, killed)
					if t.Failed() {
						t.Logf("killed %s", killed)
					}
				})
			}
		}
	}
	t.Logf("%d crash points", total)
}

// crash kills the operation at a point, and every second time the recovery at
// a random one.
func (u *simulation) crash(sc scenario, rollback bool, at, points int) string {
	_, f := u.process(sc.op, false, at)
	killed := f.name
	if at%2 == 0 && !u.over(sc) {
		_, f = u.process(sc.op, rollback, 1+rand.New(rand.NewPCG(uint64(at), uint64(points))).IntN(points))
		killed += ", then " + f.name
	}
	return killed
}

func (u *simulation) outcome() journal.Outcome {
	runs := u.list()
	return runs[len(runs)-1].Outcome
}

// over: the last life wrote that the run ended.
func (u *simulation) over(sc scenario) bool {
	runs := u.list()
	return runs[len(runs)-1].Outcome.Ended() && runs[len(runs)-1].Operation == sc.op
}
