package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// smallDisk is a store on a disk of its own, with room for size bytes and so many inodes.
func smallDisk(t *testing.T, options string) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s, err := OpenStore(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill leaves no block, or no inode, of the disk.
func fill(t *testing.T, s *Store) {
	t.Helper()
	dir := filepath.Dir(s.Dir())
	f, err := os.Create(filepath.Join(dir, "fill"))
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	_ = f.Close()
	if !IsDiskFull(err) {
		t.Fatal(err)
	}
}

func fillInodes(t *testing.T, s *Store) {
	t.Helper()
	for i := 0; ; i++ {
		err := os.WriteFile(filepath.Join(filepath.Dir(s.Dir()), fmt.Sprint("inode", i)), nil, 0o600)
		if IsDiskFull(err) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// A machine whose disk filled up since the last boot mounts what it has: its claims are there, and so is room for the
// journal.
func TestARunStartsOnAFullDisk(t *testing.T) {
	for name, full := range map[string]func(*testing.T, *Store){"no block": fill, "no inode": fillInodes} {
		t.Run(name, func(t *testing.T) {
			s := smallDisk(t, "size=8m,nr_inodes=60")
			p := testPlan(t, "v", "w")
			end(t, begin(t, s, "run-1", p), RunDone)
			if err := s.KeepReserve(); err != nil {
				t.Fatal(err)
			}
			full(t, s)
			r := begin(t, s, "run-2", p)
			for i := range 200 {
				if err := r.Write(Entry{Step: "a:v", Record: rec(Started, i+1)}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Begin(Meta{Run: "run-3"}, p); !errors.As(err, new(*BusyError)) {
				t.Errorf("a second run beside it: %v", err)
			}
			end(t, r, RunDone)
			j, err := s.Read("run-2")
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if got := j.Records()["a:v"].Generation; got != 200 {
				t.Errorf("read back is generation %d", got)
			}
			if _, err := s.Begin(Meta{Run: "run-4"}, p); !IsDiskFull(err) { // the reserve is used up
				t.Errorf("without room and reserve: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Dir(), "runs", "*.new")); len(left) > 0 {
				t.Errorf("a start that failed left %v", left)
			}
		})
	}
}

// A claim is its lock. It holds where nothing can be written.
func TestAClaimWritesNothing(t *testing.T) {
	s := smallDisk(t, "size=1m")
	end(t, begin(t, s, "run-1", testPlan(t, "v")), RunDone)
	dir := filepath.Dir(s.Dir())
	if err := unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c, err := s.claim("run-2", testPlan(t, "v").Claims())
	if err != nil {
		t.Fatal(err)
	}
	defer c.release()
	if _, err := s.claim("run-3", testPlan(t, "v").Claims()); !errors.As(err, new(*BusyError)) {
		t.Errorf("a second claim: %v", err)
	}
	if _, err := s.Begin(Meta{Run: "run-4"}, testPlan(t, "other")); !IsDiskFull(err) {
		t.Errorf("a journal on a read-only disk: %v", err)
	}
}

// Whatever becomes of the file that a run writes, the run stops at its next record: what it wrote nobody would read.
func TestAJournalThatIsGoneStopsItsRun(t *testing.T) {
	for name, lose := range map[string]func(s *Store, path string) error{
		"file deleted":   func(_ *Store, path string) error { return os.Remove(path) },
		"folder deleted": func(s *Store, _ string) error { return os.RemoveAll(s.Dir()) },
		"folder renamed": func(s *Store, _ string) error { return os.Rename(s.Dir(), s.Dir()+"-old") },
		"file replaced by a copy": func(_ *Store, path string) error {
			body, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path+".copy", body, 0o600)
			}
			return errors.Join(err, os.Rename(path+".copy", path))
		},
		"folder created again": func(s *Store, _ string) error {
			err := os.RemoveAll(s.Dir())
			_, again := OpenStore(s.Dir())
			return errors.Join(err, again)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			r := begin(t, s, "run-1", testPlan(t, "v"))
			if err := r.Write(Entry{Step: "a:v", Record: rec(Started, 1)}); err != nil {
				t.Fatal(err)
			}
			if err := lose(s, r.Path()); err != nil {
				t.Fatal(err)
			}
			var lost *LostError
			if err := r.Write(Entry{Step: "a:v", Record: rec(Done, 1)}); !errors.As(err, &lost) {
				t.Errorf("the next record: %v", err)
			}
		})
	}
}

// What has ended leaves no socket, and a start that was killed no half-made journal.
func TestListingTakesTheSocketsOfEndedRuns(t *testing.T) {
	s := testStore(t)
	leave := func(run string) string {
		p := filepath.Join(s.Dir(), "runs", run+".sock")
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	end(t, begin(t, s, "run-1", testPlan(t, "v")), RunDone)
	gone := leave("run-1")
	live := begin(t, s, "run-2", testPlan(t, "w"))
	kept := leave("run-2")
	if _, err := s.List(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(gone); err == nil {
		t.Errorf("%s is left", strings.TrimPrefix(gone, s.Dir()))
	}
	if _, err := os.Lstat(kept); err != nil {
		t.Errorf("the live run lost its socket: %v", err)
	}
	end(t, live, RunFailed)
}

// What ended costs nothing any more: none of these files could be read.
func TestRunsThatEndedAreNotOpenedForWhatIsUnfinished(t *testing.T) {
	s := testStore(t)
	now := time.Now()
	for n := range 2000 {
		id := NewRunID(now.Add(-time.Duration(n) * time.Minute))
		for _, ext := range []string{".db", ".json"} {
			if err := os.WriteFile(s.path(id, ext), []byte("unreadable"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := begin(t, s, "unfinished", testPlan(t, "v"))
	left.Close()
	runs, err := s.Unfinished()
	if err != nil || len(runs) != 1 || runs[0].Run != "unfinished" {
		t.Errorf("unfinished are %+v, %v", runs, err)
	}
	var busy *BusyError
	if err := s.conflict([]string{"mount:v"}, "another"); !errors.As(err, &busy) || busy.Run != "unfinished" {
		t.Errorf("in the way is %v", err)
	}
	if err := s.Prune(200, 30*24*time.Hour, now); err != nil {
		t.Error(err)
	}
	if names, _, err := s.names(); err != nil || len(names) != 2001 {
		t.Errorf("%d journals are left, %v", len(names), err)
	}
}

func TestAResumedRunIsUnfinishedAgain(t *testing.T) {
	s := testStore(t)
	begin(t, s, "run-1", testPlan(t, "v")).Close()
	if err := os.WriteFile(s.path("run-1", ".json"), []byte("{}"), 0o600); err != nil { // as of a run that had ended
		t.Fatal(err)
	}
	r, err := s.Resume("run-1")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if runs, err := s.Unfinished(); err != nil || len(runs) != 1 {
		t.Errorf("unfinished are %+v, %v", runs, err)
	}
}

func TestTheNewestRunsAreReadNoFurtherThanAskedFor(t *testing.T) {
	s := testStore(t)
	for _, id := range []plan.RunID{"run-1", "run-2", "run-3"} {
		r := begin(t, s, id, testPlan(t, "v-"+string(id)))
		m := r.Meta()
		m.Outcome, m.Ended = RunDone, time.Now()
		if err := r.SetMeta(m); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	for _, id := range []plan.RunID{"run-1", "run-2", "run-3"} {
		_ = os.Remove(s.path(id, ".json"))
	}
	read := func(id plan.RunID) bool { // a summary is written again where it is missing
		_, err := os.Stat(s.path(id, ".json"))
		return err == nil
	}
	for sum := range s.Newest() {
		if sum.Run != "run-3" {
			t.Errorf("the newest is %s", sum.Run)
		}
		break
	}
	if !read("run-3") || read("run-2") || read("run-1") {
		t.Errorf("read are run-3 %v, run-2 %v, run-1 %v", read("run-3"), read("run-2"), read("run-1"))
	}
	var all []plan.RunID
	for sum := range s.Newest() {
		all = append(all, sum.Run)
	}
	if !slices.Equal(all, []plan.RunID{"run-3", "run-2", "run-1"}) {
		t.Errorf("in order: %v", all)
	}
}
