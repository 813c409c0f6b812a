package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/plan"
)

// Signals at many moments of each operation, more than one at a time now and
// then: it ends with 130 and can be resumed, or was done already.
func TestASignalAtAnyMomentLeavesAResumableRun(t *testing.T) {
	t.Parallel()
	for n, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "ext4", "--create-time=40ms", "--attach-time=40ms", "--detach-time=40ms", "--latency=5ms")
			rng := rand.New(rand.NewPCG(2026, uint64(n)))
			r.must("run", "mount", "db")
			r.precious()
			r.must("run", "snapshot", "db")
			stopped := 0
			for i, op := range []string{"snapshot", "unmount", "mount", "snapshot", "unmount", "mount", "snapshot"} {
				s := r.start("run", op, "db")
				time.Sleep(20*time.Millisecond + time.Duration(rng.IntN(180))*time.Millisecond)
				_ = s.Process.Signal(sig)
				if i%3 == 2 { // and again, which ends it at once
					time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
					_ = s.Process.Signal(sig)
				}
				code, out := s.ends()
				if code == 130 {
					stopped++
				} else if code != 0 && code != -1 { // -1: before it listened
					t.Fatalf("%s: exit %d\n%s", op, code, out)
				}
				r.must("thaw", "--owned")
				for _, id := range r.unfinished() {
					r.must("resume", id)
				}
				if got, want := len(r.mounted()) > 0, op != "unmount"; got != want { // it ended before its journal
					r.must("run", op, "db")
				}
				r.check(op != "unmount")
				if op == "mount" {
					r.deleteDetached()
				}
				if t.Failed() {
					t.Fatalf("after %s of %s: exit %d\n%s", sig, op, code, out)
				}
			}
			t.Logf("%d runs were stopped", stopped)
		})
	}
}

// tamper changes the journal of a run that is not live, and makes it one of
// schema 1, whose records have no checksums.
func (r *rig) tamper(id string, change func(*bolt.Tx) error) {
	r.t.Helper()
	db, err := bolt.Open(filepath.Join(r.state(), "runs", id+".db"), 0o600, &bolt.Options{Timeout: time.Second, NoFreelistSync: true})
	if err != nil {
		r.t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		meta, events := tx.Bucket([]byte("meta")), tx.Bucket([]byte("events"))
		if string(meta.Get([]byte("schema"))) != "1" {
			const seal = 16 // bytes at the end of an event
			err := events.ForEach(func(k, v []byte) error { return events.Put(bytes.Clone(k), bytes.Clone(v[:len(v)-seal])) })
			if err != nil {
				return err
			}
			if err := meta.Put([]byte("schema"), []byte("1")); err != nil {
				return err
			}
		}
		return change(tx)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// metaOf changes the run's meta.
func metaOf(tx *bolt.Tx, change func(*journal.Meta)) error {
	var m journal.Meta
	if err := json.Unmarshal(tx.Bucket([]byte("meta")).Get([]byte("run")), &m); err != nil {
		return err
	}
	change(&m)
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte("meta")).Put([]byte("run"), body)
}

// interrupted leaves one mount run cut off before its first attach.
func (r *rig) interrupted() string {
	r.t.Helper()
	r.hang("AttachVolume", time.Minute, "before")
	r.killInStep("attach", "run", "mount", "db")
	r.calm()
	return r.only()
}

func (r *rig) aside(id string) bool {
	_, err := os.Stat(filepath.Join(r.state(), "damaged", id+".db"))
	return err == nil
}

// A damaged journal is said and set aside, and the good run beside it goes on.
func TestADamagedJournalDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	id := r.interrupted()
	good, err := os.ReadFile(filepath.Join(r.state(), "runs", id+".db"))
	if err != nil {
		t.Fatal(err)
	}
	torn := append([]byte(nil), good...)
	for i := 4096 * 2; i < len(torn); i++ {
		torn[i] ^= 0x5a
	}
	bad := map[string][]byte{"20200101T000000000-0000": nil, "20200101T000000000-0001": []byte("no journal at all"), "20200101T000000000-0002": torn, "29990101T000000000-0003": good[:len(good)/2]}
	for name, body := range bad {
		if err := os.WriteFile(filepath.Join(r.state(), "runs", name+".db"), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.wants(0, "damaged", "runs")
	out := r.wants(1, "damaged", "resume")
	for name := range bad {
		if !r.aside(name) || !strings.Contains(out, name) {
			t.Errorf("%s: set aside %t\n%s", name, r.aside(name), out)
		}
	}
	if got := r.mounted(); len(got) != 1 {
		t.Errorf("the good run was not finished: mounted are %v", got)
	}
	r.wants(0, "nothing to resume", "resume")
}

// The journal of another instance, as an image may carry one: refused by name,
// set aside by the resume of the boot, and then nothing is in the way.
func TestAnotherInstancesJournalIsSetAside(t *testing.T) {
	t.Parallel()
	for _, outcome := range []journal.Outcome{journal.Unfinished, journal.RunFailed} {
		t.Run("outcome "+string(outcome), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			id := r.interrupted()
			r.tamper(id, func(tx *bolt.Tx) error {
				return metaOf(tx, func(m *journal.Meta) { m.InstanceID, m.Outcome = "i-0123456789abcdef0", outcome })
			})
			before := len(mutating(r.calls()))
			r.wants(1, "belongs to instance i-0123456789abcdef0", "resume", id)
			r.wants(1, "belongs to instance i-0123456789abcdef0", "rollback", id)
			r.wants(0, "belongs to instance i-0123456789abcdef0", "resume")
			if !r.aside(id) || len(mutating(r.calls())) != before {
				t.Errorf("set aside: %t; calls %v", r.aside(id), mutating(r.calls())[before:])
			}
			r.must("run", "mount", "db")
			if got := r.mounted(); len(got) != 1 {
				t.Errorf("mounted: %v", got)
			}
		})
	}
}

// A journal of a newer program, and a plan with a step that this one does not
// know: refused before anything is done, and left where it is.
func TestANewerProgramsRunIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, message string
		change        func(*bolt.Tx) error
	}{
		{"schema", "install a newer version", func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("3")) }},
		{"step kind", "has the unknown kind", func(tx *bolt.Tx) error {
			p, err := plan.Decode(tx.Bucket([]byte("plan")).Get([]byte("plan")))
			if err != nil {
				return err
			}
			p.Steps[len(p.Steps)-1].Kind = "teleport"
			body, err := json.Marshal(p)
			if err != nil {
				return err
			}
			if err := tx.Bucket([]byte("plan")).Put([]byte("plan"), body); err != nil {
				return err
			}
			return metaOf(tx, func(m *journal.Meta) { m.Digest = p.Digest() })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			id := r.interrupted()
			r.tamper(id, c.change)
			before := len(mutating(r.calls()))
			r.wants(1, c.message, "resume")
			r.wants(1, c.message, "resume", id)
			r.wants(1, c.message, "rollback", id)
			if r.aside(id) {
				t.Error("it was set aside: the newer program would not find it")
			}
			if did := mutating(r.calls())[before:]; len(did) > 0 {
				t.Errorf("it made the calls %v", did)
			}
		})
	}
}

// A run that an older program made, whose records lack what this one writes,
// still goes on.
func TestAnOlderProgramsRunIsResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	id := r.interrupted()
	r.tamper(id, func(tx *bolt.Tx) error {
		steps := tx.Bucket([]byte("steps"))
		changed := map[string][]byte{}
		err := steps.ForEach(func(k, v []byte) error {
			var rec map[string]any
			if err := json.Unmarshal(v, &rec); err != nil {
				return err
			}
			for _, young := range []string{"note", "hint", "ever_done", "started_at", "ended_at"} {
				delete(rec, young)
			}
			rec["of_old"] = "what nobody knows any more"
			body, err := json.Marshal(rec)
			changed[string(k)] = body
			return err
		})
		for k, v := range changed {
			if err == nil {
				err = steps.Put([]byte(k), v)
			}
		}
		if err != nil {
			return err
		}
		return metaOf(tx, func(m *journal.Meta) { m.Version = "0.0.1" })
	})
	r.must("resume")
	r.precious()
	r.check(true)
	if n := r.made(); n != 1 {
		t.Errorf("%d volumes were made", n)
	}
}

// Two resumes at once, and one while another run is taken up: each run is gone
// on with by one of them.
func TestTwoResumesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	for range 3 {
		r.interrupted()
		var all []*started
		for range 4 {
			all = append(all, r.start("resume"))
		}
		all = append(all, r.start("run", "mount", "db"))
		for _, s := range all {
			if code, out := s.ends(); code != 0 && code != 5 {
				t.Errorf("exit %d\n%s", code, out)
			}
		}
		r.precious()
		r.check(true)
		r.lose()
	}
}

// Waits end: each wait of a mount has a time-out in the settings, and the error
// says which wait it was and what to do.
func TestEveryWaitIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, timeout string
		fault         sandbox.Fault
		lat           sandbox.Latency
		op            string
		message       string
	}{
		{name: "volume", timeout: "volume = \"1s\"", lat: sandbox.Latency{Create: time.Minute}, op: "mount", message: "wait-available"},
		{name: "attach", timeout: "attach = \"1s\"", lat: sandbox.Latency{Attach: time.Minute}, op: "mount", message: "still in state attaching after 1"},
		{name: "detach", timeout: "detach = \"1s\"", lat: sandbox.Latency{Detach: time.Minute}, op: "unmount", message: "timed out"},
		{name: "complete", timeout: "complete = \"1s\"", lat: sandbox.Latency{Snapshot: time.Minute}, op: "snapshot --wait", message: "timed out"},
		{name: "throttled for ever", timeout: "volume = \"1s\"", fault: sandbox.Fault{Action: "CreateVolume", Error: "RequestLimitExceeded"}, op: "mount", message: "timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			if c.op != "mount" {
				r.must("run", "mount", "db")
			}
			r.hooked("  timeouts { " + c.timeout + " }\n")
			var faults []sandbox.Fault
			if c.fault.Action != "" {
				faults = append(faults, c.fault)
			}
			if err := sandbox.SetFaults(r.sandboxDir(), c.lat, faults...); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			args := append([]string{"run"}, append(strings.Fields(c.op), "db")...)
			code, out := r.run(args...)
			if took := time.Since(began); code == 0 || took > 20*time.Second {
				t.Errorf("exit %d after %s", code, took)
			}
			plain(t, out)
			if !strings.Contains(out, c.message) {
				t.Errorf("it does not say %q:\n%s", c.message, out)
			}
			if code == 1 && !strings.Contains(out, "hint:") {
				t.Errorf("it does not say what to do:\n%s", out)
			}
			r.calm()
		})
	}
}
