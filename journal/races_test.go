package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// While one process takes an interrupted run up, no other may begin a run over
// the same things: not even in the moment in which the journal is locked and
// the claims are not.
func TestNoRunStartsWhileAnInterruptedRunIsResumed(t *testing.T) {
	s := testStore(t)
	if err := begin(t, s, "run-0", testPlan(t, "v")).Close(); err != nil { // killed
		t.Fatal(err)
	}
	for range 150 {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				r, err := s.Resume("run-0")
				var busy *BusyError
				switch {
				case err == nil:
					_ = r.Close()
				case !errors.Is(err, ErrLive) && !(errors.As(err, &busy) && busy.Run == "run-1"): // it is told of the other one that tries
					t.Errorf("resume: %v", err)
				}
			})
		}
		wg.Go(func() {
			r, err := s.Begin(Meta{Run: "run-1"}, testPlan(t, "v"))
			if err == nil {
				t.Error("a run began over what an interrupted one holds")
				end(t, r, RunDone)
			}
		})
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// Somebody who only looks holds the file for a moment: a resume waits for that.
func TestReadingDoesNotMakeARunLive(t *testing.T) {
	s := testStore(t)
	if err := begin(t, s, "run-0", testPlan(t, "v")).Close(); err != nil {
		t.Fatal(err)
	}
	look, err := s.Read("run-0")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = look.Close() })
	r, err := s.Resume("run-0")
	if err != nil {
		t.Fatalf("while another process looks: %v", err)
	}
	_ = r.Close()
}

// What could not be written stays unwritten: a later record that happened to
// fit would stand on one that is missing.
func TestNothingIsWrittenAfterAFailedWrite(t *testing.T) {
	s := testStore(t)
	r := begin(t, s, "run-0", testPlan(t, "v"))
	long := rec(Started, 1)
	long.Input = []byte(`not JSON`) // cannot be marshalled
	if err := r.Write(Entry{Step: "a:v", Record: long}); err == nil {
		t.Fatal("a record that is no JSON was written")
	}
	if err := r.Write(Entry{Step: "b:v", Record: rec(Started, 1)}); err == nil {
		t.Error("a record was written after one that could not be")
	}
	_ = r.Close()
	j, err := s.Read("run-0")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if len(j.Records()) != 0 {
		t.Errorf("the journal holds %v", j.Records())
	}
}

// A file that cannot be read just now is not damaged: setting it aside would
// lose a good run.
func TestAFileThatCannotBeReadIsNotDamaged(t *testing.T) {
	s := testStore(t)
	if err := begin(t, s, "run-0", testPlan(t, "v")).Close(); err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	var held []*os.File
	low := was
	low.Cur = 64
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Skip(err)
	}
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		held = append(held, f)
	}
	_, err := s.Read("run-0")
	for _, f := range held {
		_ = f.Close()
	}
	if restore := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); restore != nil {
		t.Fatal(restore)
	}
	var d *DamagedError
	if err == nil || errors.As(err, &d) {
		t.Errorf("with no descriptor left: %v", err)
	}
}

// A run that ends between the listing of the folder and its reading is no
// problem of anybody's.
func TestARunThatWasPrunedMeanwhileIsNotListed(t *testing.T) {
	s := testStore(t)
	if sum, there := s.summary("run-0", false); there {
		t.Errorf("%+v", sum)
	}
}

// What a killed process leaves beside journals goes with them.
func TestTemporaryFilesAreRemoved(t *testing.T) {
	s := testStore(t)
	leave := func(run plan.RunID, ext string) string {
		p := filepath.Join(s.Dir(), "runs", string(run)+ext)
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	r := begin(t, s, "run-0", testPlan(t, "v"))
	gone := []string{leave("run-0", ".sock")}
	end(t, r, Abandoned)
	unborn := leave("run-1", ".db.new")
	gone = append(gone, unborn, leave("run-2", ".sock"), leave("run-4", ".sock.new"))
	beginning := leave("run-3", ".db.new")
	f, err := os.Open(beginning)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	leave("run-2", ".db")
	if _, err := s.SetAside("run-2"); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(10, time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, p := range gone {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("%s is left", strings.TrimPrefix(p, s.Dir()))
		}
	}
	if _, err := os.Lstat(beginning); err != nil {
		t.Errorf("a run that is just beginning lost its journal: %v", err)
	}
}
