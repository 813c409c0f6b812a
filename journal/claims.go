package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// A BusyError names the run that holds a claim that another run needs.
type BusyError struct {
	Claim string
	Run   plan.RunID
	Live  bool
	State Outcome
}

func (e *BusyError) Error() string {
	what := strings.Replace(e.Claim, ":", " ", 1)
	switch {
	case e.Run == "":
		return fmt.Sprintf("%s is claimed by another run that is just starting; try again", what)
	case e.Live:
		return fmt.Sprintf("%s is claimed by run %s, which is live; wait until it ends (see `snaptastic status`)", what, e.Run)
	case e.State == RunFailed:
		return fmt.Sprintf("%s is claimed by run %s, which failed; run `snaptastic resume %s` to finish it or `snaptastic rollback %s` to undo it", what, e.Run, e.Run, e.Run)
	}
	return fmt.Sprintf("%s is claimed by run %s, which was interrupted; run `snaptastic resume %s` to finish it or `snaptastic rollback %s` to undo it", what, e.Run, e.Run, e.Run)
}

// claims are lock files. The lock belongs to the open file, so the kernel
// releases it when the process ends, however it ends.
type claims struct{ files []*os.File }

// claim locks every name in sorted order, so that two runs with
// overlapping sets cannot deadlock; it never waits.
func (s *Store) claim(run plan.RunID, names []string) (*claims, error) {
	names = slices.Clone(names)
	slices.Sort(names)
	c := &claims{}
	for _, name := range slices.Compact(names) {
		f, err := openClaim(s.claimPath(name))
		if err != nil {
			c.release()
			return nil, fmt.Errorf("cannot claim %s: %w", name, err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			c.release()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, &BusyError{Claim: name, Run: s.holder(name), Live: true}
			}
			return nil, fmt.Errorf("cannot claim %s: %w", name, err)
		}
		c.files = append(c.files, f)
		writeHolder(f, string(run)+"\n"+name+"\n")
	}
	return c, nil
}

// LockClaims locks claims without a journal; the caller releases them. An unfinished run keeps its own.
func (s *Store) LockClaims(run plan.RunID, names []string) (release func(), err error) {
	c, err := s.claim(run, names)
	if err != nil {
		return nil, err
	}
	if err := s.conflict(names, run); err != nil {
		c.release()
		return nil, err
	}
	return c.release, nil
}

// openClaim opens a claim's file, and creates it if it is missing. A read-only file is enough for the lock: the state directory may be read-only.
func openClaim(path string) (*os.File, error) {
	f, err := openOwn(path, os.O_RDWR|os.O_CREATE, 0o600)
	if IsDiskFull(err) {
		if old, err := openOwn(path, os.O_RDONLY, 0); err == nil {
			return old, nil
		}
	}
	return f, err
}

// writeHolder records in a claim's file which run holds it. The lock is the claim; the text only serves the error message of
// other runs, so a full disk is not an error. The file keeps its block for the next time.
func writeHolder(f *os.File, words string) {
	if _, err := f.WriteAt([]byte(words), 0); err == nil {
		_ = f.Truncate(int64(len(words)))
	}
}

// holder is the run that holds the claim's lock; "" if it has not
// recorded itself.
func (s *Store) holder(name string) plan.RunID {
	for try := 0; ; try++ {
		body, _ := readOwn(s.claimPath(name))
		if id, _, said := strings.Cut(string(body), "\n"); said && id != "" || try == 10 {
			return plan.RunID(id)
		}
		time.Sleep(5 * time.Millisecond) // it locked the file and is about to write
	}
}

// claimPath: a mount point is not a file name, its hash is. The file's second
// line has the claim itself.
func (s *Store) claimPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	kind, _, _ := strings.Cut(name, ":")
	return filepath.Join(s.dir, "claims", kind+"-"+hex.EncodeToString(sum[:8]))
}

func (c *claims) release() {
	for _, f := range c.files {
		writeHolder(f, "\n") // released: there is no holder to report
		_ = f.Close()
	}
	c.files = nil
}

// conflict scans unfinished runs for one that still holds a claim: an
// interrupted one holds all of its own, a failed one those of its unfinished
// lanes. The caller holds the lock files, so no new run can start in between.
func (s *Store) conflict(names []string, not ...plan.RunID) error {
	runs, err := s.Unfinished()
	if err != nil {
		return err
	}
	return conflicting(runs, names, not)
}

func conflicting(runs []Summary, names []string, not []plan.RunID) error {
	for _, r := range runs {
		if slices.Contains(not, r.Run) || r.Live || r.Outcome.Ended() {
			continue // a live run holds lock files: claim would have met it
		}
		for _, c := range r.Claims {
			if slices.Contains(names, c) && !r.Idle {
				return &BusyError{Claim: c, Run: r.Run, State: r.Outcome}
			}
		}
	}
	return nil
}

// InTheWay is the *BusyError that Begin would return for a plan now, if the runs of not had ended. It locks nothing: to ask keeps no run out.
func (s *Store) InTheWay(p *plan.Plan, not ...plan.RunID) error {
	runs, err := s.Unfinished()
	if err != nil {
		return err
	}
	for _, name := range p.Claims() {
		body, _ := readOwn(s.claimPath(name))
		id, _, _ := strings.Cut(string(body), "\n") // of the run that had it last
		for _, r := range runs {
			if r.Live && string(r.Run) == id {
				return &BusyError{Claim: name, Run: r.Run, Live: true}
			}
		}
	}
	return conflicting(runs, p.Claims(), not)
}

// claimsOf lists the claims that a run still holds, and that a resume locks again.
func claimsOf(j *Journal) []string {
	switch {
	case j.meta.Outcome.Ended():
		return nil
	case j.meta.Outcome == RunFailed:
		return j.plan.Claims(unfinishedLanes(j)...)
	}
	return j.plan.Claims()
}

// idle reports that a run was cut off before its first intent, and that only an
// operator can resume it: it had no effect yet, so it blocks no other run.
// Neither does one that only reads and is left to the next run.
func idle(j *Journal) bool {
	if j.plan.ResumePolicy == plan.ResumeNextRun {
		return true
	}
	if j.meta.Outcome == RunFailed || j.meta.RollingBack || j.plan.ResumePolicy != plan.ResumeManually {
		return false
	}
	for _, r := range j.records {
		if r.Token != "" {
			return false
		}
	}
	return true
}

// Idle reports that the run was cut off before its first intent, and that only an
// operator can resume it.
func (j *Journal) Idle() bool { return idle(j) }

// unfinishedLanes are those with a step that is not done; "-" stands for none,
// since no lanes at all means every lane.
func unfinishedLanes(j *Journal) []string {
	var out []string
	listed := map[string]bool{"": true}
	for i := range j.plan.Steps {
		s := &j.plan.Steps[i]
		if listed[s.Lane] {
			continue
		}
		if r, ok := j.records[s.ID]; !ok || (r.State != Done && !s.Tolerated) {
			listed[s.Lane] = true
			out = append(out, s.Lane)
		}
	}
	if out == nil {
		return []string{"-"}
	}
	return out
}

// UnfinishedLanes are the lanes with a step that is not done, as the file had
// it when it was opened; never empty: ["-"] names no lane.
func (j *Journal) UnfinishedLanes() []string { return unfinishedLanes(j) }

// HeldLanes returns, by lane, the unfinished run that holds claims of that lane. It does not see what a live run holds;
// Begin does.
func (s *Store) HeldLanes(p *plan.Plan) (map[string]*BusyError, error) {
	runs, err := s.Unfinished()
	if err != nil {
		return nil, err
	}
	held := map[string]*BusyError{}
	for _, r := range runs {
		if r.Live || r.Outcome.Ended() || r.Idle {
			continue
		}
		for _, lane := range p.Lanes {
			for _, c := range lane.Claims {
				if slices.Contains(r.Claims, c) {
					held[lane.ID] = &BusyError{Claim: c, Run: r.Run, State: r.Outcome}
				}
			}
		}
	}
	return held, nil
}
