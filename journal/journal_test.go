package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

var thing = plan.Def[string, string]{Kind: "thing", ObserveBy: plan.ByState, Scope: plan.Cloud}

func testPlan(t testing.TB, lanes ...string) *plan.Plan {
	t.Helper()
	head := plan.Plan{Operation: "mount", Snapshotter: "s", Instance: "i-1", ResumePolicy: plan.ResumeAnyBoot}
	for _, l := range lanes {
		head.Lanes = append(head.Lanes, plan.Lane{ID: l, Claims: []string{"mount:" + l, "device:/dev/" + l}})
	}
	b := plan.NewBuilder(head)
	for _, l := range lanes {
		plan.Add(b, thing, plan.StepID("a:"+l), "x", plan.InLane(l))
		plan.Add(b, thing, plan.StepID("b:"+l), "x", plan.InLane(l), plan.After(plan.StepID("a:"+l)))
	}
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testStore(t testing.TB) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// memoryStore is a store whose fsync costs nothing where /dev/shm is memory: for thousands of journals, and not for what is
// about disks.
func memoryStore(t testing.TB) *Store {
	t.Helper()
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) != nil || fs.Type != unix.TMPFS_MAGIC || fs.Bavail*uint64(fs.Bsize) < 1<<28 {
		return testStore(t)
	}
	dir, err := os.MkdirTemp("/dev/shm", "snaptastic-test-")
	if err != nil {
		return testStore(t)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := OpenStore(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t testing.TB, s *Store, run plan.RunID, p *plan.Plan) *Run {
	t.Helper()
	r, err := s.Begin(Meta{Run: run, InstanceID: "i-1", BootID: "boot", Created: time.Unix(1e9, 0).UTC()}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func end(t testing.TB, r *Run, o Outcome) {
	t.Helper()
	m := r.Meta()
	m.Outcome = o
	if err := r.SetMeta(m); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func rec(s State, gen int) *Record {
	return &Record{State: s, Generation: gen, Token: fmt.Sprint("t", gen), Input: json.RawMessage(`"x"`), BootID: "boot"}
}

func TestRecordsRoundTrip(t *testing.T) {
	s := testStore(t)
	p := testPlan(t, "v")
	r := begin(t, s, "run-1", p)
	done := rec(Done, 2)
	done.Output, done.EverDone = json.RawMessage(`{"volume_id":"vol-1"}`), true
	for _, e := range []Entry{{Step: "a:v", Record: rec(Started, 1)}, {Step: "a:v", Record: done}, {Step: "b:v", Record: rec(Started, 1)}} {
		if err := r.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resume("run-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := map[plan.StepID]Record{"a:v": *done, "b:v": *rec(Started, 1)}
	if d := cmp.Diff(want, r.Records()); d != "" {
		t.Error(d)
	}
	if r.Plan().Digest() != p.Digest() {
		t.Error("the plan changed")
	}
}

func TestFoldingTheEventsGivesTheSteps(t *testing.T) {
	s := testStore(t)
	r := begin(t, s, "run-1", testPlan(t, "v", "w"))
	var wg sync.WaitGroup
	for i := range 40 { // concurrent batches of several entries
		wg.Add(1)
		lane := []string{"v", "w"}[i%2]
		r.Commit([]Entry{{Step: plan.StepID("a:" + lane), Record: rec(Started, i)}, {Step: plan.StepID("b:" + lane), Record: rec(Done, i)}}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	end(t, r, RunFailed)
	j, err := s.Read("run-1")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	folded, n, meta := map[plan.StepID]Record{}, uint64(0), Meta{}
	err = j.Events(func(seq uint64, e Entry) error {
		if n++; seq != n {
			t.Errorf("event %d has number %d", n, seq)
		}
		if e.Meta != nil {
			meta = *e.Meta
		} else {
			folded[e.Step] = *e.Record
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(j.Records(), folded); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(j.Meta(), meta); d != "" {
		t.Error(d)
	}
	if n != 82 {
		t.Errorf("%d events", n)
	}
}

func TestARunIsCompleteOrAbsent(t *testing.T) {
	s := testStore(t)
	// A process that died before the rename leaves only a .new file.
	if err := os.WriteFile(s.path("run-0", ".db.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := begin(t, s, "run-0", testPlan(t, "v"))
	runs, err := s.List()
	if err != nil || len(runs) != 1 || !runs[0].Live {
		t.Fatalf("runs %+v, %v", runs, err)
	}
	fi, err := os.Stat(r.Path())
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if di, _ := os.Stat(filepath.Dir(r.Path())); di.Mode().Perm() != 0o700 {
		t.Errorf("folder's mode %v", di.Mode())
	}
}

func TestClaims(t *testing.T) {
	s := testStore(t)
	first := begin(t, s, "run-1", testPlan(t, "v", "w"))
	busy := func(lane string) *BusyError {
		t.Helper()
		r, err := s.Begin(Meta{Run: "run-2"}, testPlan(t, lane))
		if err == nil {
			end(t, r, RunDone)
			return nil
		}
		var b *BusyError
		if !errors.As(err, &b) {
			t.Fatalf("not busy: %v", err)
		}
		return b
	}
	if b := busy("w"); b == nil || b.Run != "run-1" || !b.Live || !strings.Contains(b.Error(), "run-1, which is live") {
		t.Errorf("live: %v", b)
	}
	if b := busy("z"); b != nil {
		t.Errorf("a disjoint run is refused: %v", b)
	}
	for _, e := range []Entry{{Step: "a:v", Record: rec(Done, 1)}, {Step: "b:v", Record: rec(Done, 1)}, {Step: "a:w", Record: rec(Failed, 1)}} {
		if err := first.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil { // as if killed: no outcome
		t.Fatal(err)
	}
	for _, lane := range []string{"v", "w"} {
		if b := busy(lane); b == nil || b.Run != "run-1" || b.Live || !strings.Contains(b.Error(), "snaptastic resume run-1") {
			t.Errorf("interrupted, lane %s: %v", lane, b)
		}
	}
	again, err := s.Resume("run-1")
	if err != nil {
		t.Fatal(err)
	}
	if b := busy("v"); b == nil || !b.Live {
		t.Errorf("resumed: %v", b)
	}
	end(t, again, RunFailed)
	if b := busy("v"); b != nil {
		t.Errorf("a failed run holds the claims of its done lane: %v", b)
	}
	if b := busy("w"); b == nil || !strings.Contains(b.Error(), "failed") {
		t.Errorf("a failed run lets go of its unfinished lane: %v", b)
	}
	again, err = s.Resume("run-1")
	if err != nil {
		t.Fatal(err)
	}
	end(t, again, Abandoned)
	if b := busy("w"); b != nil {
		t.Errorf("an abandoned run holds %v", b)
	}
}

func TestTwoProcessesNeverBothStart(t *testing.T) {
	s := testStore(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var began []*Run
	for i := range 20 {
		wg.Go(func() {
			lanes := []string{"v", "w", "x"}
			r, err := s.Begin(Meta{Run: plan.RunID(fmt.Sprint("run-", i))}, testPlan(t, lanes[i%3], lanes[(i+1)%3]))
			var b *BusyError
			if err != nil && !errors.As(err, &b) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				began = append(began, r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(began) > 1 {
		t.Errorf("%d overlapping runs began", len(began))
	}
	for _, r := range began {
		r.Close()
	}
}

func TestDamageIsReportedAndOtherRunsAreListed(t *testing.T) {
	s := testStore(t)
	good := begin(t, s, "run-1", testPlan(t, "v"))
	end(t, good, RunDone)
	valid, err := os.ReadFile(s.path("run-1", ".db"))
	if err != nil {
		t.Fatal(err)
	}
	damage := map[plan.RunID][]byte{
		"run-2": {},
		"run-3": []byte("this is no bbolt file at all, whatever its name says"),
		"run-4": valid[:8192],
		"run-5": bytes.Repeat([]byte{0xff}, 64<<10),
	}
	for id, body := range damage {
		if err := os.WriteFile(s.path(id, ".db"), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := s.List()
	if err != nil || len(runs) != 5 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	if runs[0].Problem != "" || runs[0].Outcome != RunDone {
		t.Errorf("the good run: %+v", runs[0])
	}
	for _, r := range runs[1:] {
		if !r.Damaged || r.Problem == "" {
			t.Errorf("%s is listed as %+v", r.Run, r)
		}
		to, err := s.SetAside(r.Run)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(to); err != nil {
			t.Error(err)
		}
	}
	if runs, _ = s.List(); len(runs) != 1 {
		t.Errorf("%d runs after setting aside", len(runs))
	}
}

// edit changes a stored run behind the program's back, as one without checksums.
func edit(t *testing.T, path string, f func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, options(false))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(unsealed); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

// unsealed makes the journal one of schema 1, in which nothing but sense holds
// records against each other.
func unsealed(tx *bolt.Tx) error {
	events := tx.Bucket(bucketEvents)
	err := events.ForEach(func(k, v []byte) error { return events.Put(bytes.Clone(k), bytes.Clone(v[:len(v)-sealSize])) })
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keySchema, []byte("1"))
}

func TestInvalidRecordsAreRefused(t *testing.T) {
	put := func(bucket, key, value string) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), []byte(value)) }
	}
	tests := map[string]struct {
		edit    func(tx *bolt.Tx) error
		message string
	}{
		"a newer schema":         {put("meta", "schema", "3"), "newer version"},
		"no schema":              {put("meta", "schema", "x"), "damaged"},
		"a missing bucket":       {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("steps")) }, "damaged"},
		"a broken record":        {put("steps", "a:v", "{"), "damaged"},
		"an unknown state":       {put("steps", "a:v", `{"state":"dancing"}`), "is invalid"},
		"a record of no step":    {put("steps", "zzz", `{"state":"done"}`), "is invalid"},
		"a negative generation":  {put("steps", "a:v", `{"state":"done","generation":-1}`), "is invalid"},
		"another plan":           {put("plan", "plan", `{"schema":1,"resumption":"continue","steps":[{"id":"q","kind":"k","look":"state","scope":"cloud"}]}`), "does not match the run"},
		"a plan that is no plan": {put("plan", "plan", `[]`), "damaged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			r := begin(t, s, "run-1", testPlan(t, "v"))
			r.Close()
			edit(t, s.path("run-1", ".db"), tt.edit)
			if _, err := s.Resume("run-1"); err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("got %v, want %q", err, tt.message)
			}
		})
	}
}

func TestPruneKeepsUnfinishedAndNewRuns(t *testing.T) {
	s := testStore(t)
	day := 24 * time.Hour
	now := time.Unix(1e9, 0).UTC().Add(100 * day)
	for i, o := range []Outcome{RunDone, RunFailed, Unfinished, RolledBack, Abandoned, RunDone} {
		r := begin(t, s, plan.RunID(fmt.Sprint("run-", i)), testPlan(t, fmt.Sprint("v", i)))
		m := r.Meta()
		m.Outcome = o
		if i == 4 {
			m.Created = now.Add(-day)
		}
		if err := r.SetMeta(m); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	if err := s.Prune(1, 30*day, now); err != nil {
		t.Fatal(err)
	}
	var left []string
	runs, _ := s.List()
	for _, r := range runs {
		left = append(left, string(r.Run))
	}
	if d := cmp.Diff([]string{"run-1", "run-2", "run-4", "run-5"}, left); d != "" {
		t.Error(d)
	}
}

func TestARunIDCannotLeaveTheFolder(t *testing.T) {
	s := testStore(t)
	for _, id := range []plan.RunID{"", "../x", ".hidden", "a/b", "nosuchrun"} {
		if _, err := s.Resume(id); err == nil || !strings.Contains(err.Error(), "snaptastic runs") {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestRunIDsSortByTime(t *testing.T) {
	t0 := time.Date(2026, 12, 31, 23, 59, 59, 998e6, time.UTC)
	for i := range 5 {
		a, b := NewRunID(t0.Add(time.Duration(i)*time.Millisecond)), NewRunID(t0.Add(time.Duration(i+1)*time.Millisecond))
		if a >= b {
			t.Errorf("%s is not before %s", a, b)
		}
	}
}

// FuzzOpen: whatever the bytes in steps and plan are, opening never panics, and
// what opens makes sense.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"state":"done","generation":1}`), []byte(`{"schema":1}`), false)
	f.Add([]byte(`{"state":"started","undo":"kept","token":"x"}`), []byte(`{}`), true)
	f.Add([]byte(`null`), []byte(`[1,2`), true)
	f.Fuzz(func(t *testing.T, record, planBody []byte, replacePlan bool) {
		s := testStore(t)
		r, err := s.Begin(Meta{Run: "r"}, testPlan(t, "v"))
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		edit(t, s.path("r", ".db"), func(tx *bolt.Tx) error {
			if replacePlan {
				if err := tx.Bucket(bucketPlan).Put(keyPlan, planBody); err != nil {
					return err
				}
			}
			return tx.Bucket(bucketSteps).Put([]byte("a:v"), record)
		})
		r, err = s.Resume("r")
		if err != nil {
			return
		}
		defer r.Close()
		if err := r.Plan().Validate(); err != nil {
			t.Errorf("opened with an invalid plan: %v", err)
		}
		for _, rec := range r.Records() {
			if !rec.valid() {
				t.Errorf("opened with record %+v", rec)
			}
		}
	})
}

// FuzzFile: damage anywhere in the file is an error or harmless, never a panic.
func FuzzFile(f *testing.F) {
	f.Add(uint32(0), []byte{0})
	f.Add(uint32(4096), []byte("\xff\xff\xff\xff\xff\xff"))
	f.Add(uint32(8200), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, at uint32, noise []byte) {
		s := testStore(t)
		r, err := s.Begin(Meta{Run: "r"}, testPlan(t, "v"))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Write(Entry{Step: "a:v", Record: rec(Done, 1)}); err != nil {
			t.Fatal(err)
		}
		r.Close()
		body, err := os.ReadFile(s.path("r", ".db"))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range noise {
			body[(int(at)+i)%len(body)] = b
		}
		if err := os.WriteFile(s.path("r", ".db"), body, 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := s.Read("r"); err == nil {
			j.Close()
		}
	})
}
