package journal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"snaptastic/plan"
)

// A Store is the state directory of one machine.
//
//	STATE/runs/RUN.db      the journal of a run
//	STATE/runs/RUN.json    its summary once it ended: a cache for listings, never the truth
//	STATE/runs/RUN.sock    where a live run answers `status`
//	STATE/runs/.reserve    room for a journal on a full disk
//	STATE/claims/NAME      a lock file per claim; holds the id of the run that holds it
//	STATE/keys/HASH        the run of a key
//	STATE/damaged/         journals that could not be read, or of another instance
type Store struct{ dir string }

// OpenStore opens the state directory, and creates it if it is missing.
func OpenStore(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{abs}
	for _, sub := range []string{"", "runs", "claims"} {
		if err := os.MkdirAll(filepath.Join(abs, sub), 0o700); err != nil {
			return nil, fmt.Errorf("cannot use state directory %s: %w", abs, err)
		}
	}
	return s, nil
}

// ErrNoState: there is no state directory, so no run was ever made with it.
var ErrNoState = errors.New("no state found")

// FindStore opens a state directory for reading, and creates nothing. The error wraps
// ErrNoState where there is none.
func FindStore(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.ReadDir(filepath.Join(abs, "runs")); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: no run has used it", ErrNoState, abs)
	} else if err != nil {
		return nil, fmt.Errorf("cannot use state directory %s: %w", abs, err)
	}
	return &Store{abs}, nil
}

// Dir is the state directory.
func (s *Store) Dir() string { return s.dir }

// NewRunID returns an id that sorts by time, to the millisecond.
func NewRunID(now time.Time) plan.RunID {
	var r [2]byte
	_, _ = rand.Read(r[:]) // never fails, says its documentation
	now = now.UTC()
	return plan.RunID(fmt.Sprintf("%s%03d-%s", now.Format("20060102T150405"), now.Nanosecond()/1e6, hex.EncodeToString(r[:])))
}

func (s *Store) path(run plan.RunID, ext string) string {
	return filepath.Join(s.dir, "runs", string(run)+ext)
}

// Socket is where a live run answers.
func (s *Store) Socket(run plan.RunID) string { return s.path(run, ".sock") }

// checkID refuses a run id that would lead out of the directory.
func checkID(run plan.RunID) error {
	if run == "" || strings.ContainsAny(string(run), "/\x00") || strings.HasPrefix(string(run), ".") {
		return fmt.Errorf("%q is not a run id; `snaptastic runs` lists all runs", run)
	}
	return nil
}

// Begin locks the claims of the plan and creates the run's journal. A
// *BusyError names the run that holds one of them. Claims outlive a reboot: they
// last as long as the run is unfinished.
func (s *Store) Begin(m Meta, p *plan.Plan) (*Run, error) {
	c, err := s.claim(m.Run, p.Claims())
	if err != nil {
		return nil, err
	}
	if err := s.conflict(p.Claims(), m.Run); err != nil {
		c.release()
		return nil, err
	}
	m.Digest = p.Digest()
	j, err := s.createAnyway(m, p)
	if err != nil {
		c.release()
		return nil, err
	}
	return &Run{Journal: j, store: s, claims: c}, nil
}

// Resume opens an unfinished run to continue it, and locks its claims
// again. ErrLive if another process has it open.
func (s *Store) Resume(run plan.RunID) (*Run, error) {
	for {
		look, err := s.Read(run)
		if err != nil {
			return nil, err
		}
		claims := claimsOf(look)
		_ = look.Close()
		r, err := s.resume(run, claims, look)
		if r != nil || err != nil {
			return r, err
		}
	}
}

// resume locks the claims first and the journal after them. The other way round
// Begin could find the journal locked, assume that its run holds its claims,
// and start next to it. It returns nothing if the run was continued meanwhile and
// holds other claims.
func (s *Store) resume(run plan.RunID, claims []string, look *Journal) (*Run, error) {
	c, err := s.claim(run, claims)
	if busy, ok := errors.AsType[*BusyError](err); ok && (busy.Run == run || busy.Run == "") {
		return nil, ErrLive
	}
	if err != nil {
		return nil, err
	}
	j, err := reopen(s.path(run, ".db"), false, look)
	if err != nil {
		c.release()
		return nil, err
	}
	same := slices.Equal(claimsOf(j), claims)
	if same {
		err = s.conflict(claims, run)
	}
	if !same || err != nil {
		_ = j.Close()
		c.release()
		return nil, err
	}
	// A run that is continued has not ended, whatever it was before.
	_ = os.Remove(s.path(run, ".json"))
	return &Run{Journal: j, store: s, claims: c}, nil
}

// A Run is an open journal with its claims.
type Run struct {
	*Journal
	store  *Store
	claims *claims
}

// Close unlocks the journal and releases the claims. An ended run leaves its
// summary beside the journal.
func (r *Run) Close() error {
	if m := r.Meta(); m.Outcome.Ended() {
		r.store.writeSummary(summarize(r.Journal))
		_ = os.Remove(r.store.Socket(m.Run)) // left by a process that was killed
	}
	err := r.Journal.Close()
	r.claims.release()
	return err
}

// Read opens a run that is not live, read-only.
func (s *Store) Read(run plan.RunID) (*Journal, error) {
	if err := checkID(run); err != nil {
		return nil, err
	}
	j, err := open(s.path(run, ".db"), true)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("run %s not found; `snaptastic runs` lists all runs", run)
	}
	return j, err
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
