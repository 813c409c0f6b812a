package journal

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// A Store is the state folder of one machine.
//
//	STATE/runs/RUN.db      the journal of a run
//	STATE/runs/RUN.json    its summary once it ended: a cache for listings, never the truth
//	STATE/runs/RUN.sock    where a live run answers `status`
//	STATE/runs/.reserve    room for a journal on a full disk
//	STATE/claims/NAME      a lock file per claim; holds the id of the run that holds it
//	STATE/keys/HASH        the run of a key
//	STATE/damaged/         journals that could not be read, or of another instance
type Store struct{ dir string }

// OpenStore makes the state folder where it is missing.
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

// ErrNoState: there is no state folder, so no run was ever made with it.
var ErrNoState = errors.New("no state found")

// FindStore opens a state folder for looking, and makes nothing. The error wraps
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

// Dir is the state folder.
func (s *Store) Dir() string { return s.dir }

// NewRunID makes an id that sorts by time, to the millisecond.
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

// checkID keeps a run id typed by a person inside the folder.
func checkID(run plan.RunID) error {
	if run == "" || strings.ContainsAny(string(run), "/\x00") || strings.HasPrefix(string(run), ".") {
		return fmt.Errorf("%q is not a run id; `snaptastic runs` lists all runs", run)
	}
	return nil
}

// Begin claims what the plan touches and makes the run's journal. A
// *BusyError names the run that is in the way. Claims outlive a reboot: they
// last as long as the run is unfinished.
func (s *Store) Begin(m Meta, p *plan.Plan) (*Run, error) {
	c, err := s.claim(m.Run, p.Claims())
	if err != nil {
		return nil, err
	}
	if err := s.conflict(m.Run, p.Claims()); err != nil {
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

// Resume opens an unfinished run for going on with it, and takes its claims
// again. ErrLive when another process has it.
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
// Begin could meet a locked journal, take its run for one that has its claims,
// and begin beside it. It returns nothing when the run has gone on meanwhile and
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
		err = s.conflict(run, claims)
	}
	if !same || err != nil {
		_ = j.Close()
		c.release()
		return nil, err
	}
	// A run that is gone on with is not one that ended, whatever it was.
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
		_ = os.Remove(r.store.Socket(m.Run)) // of a process that was killed
	}
	err := r.Journal.Close()
	r.claims.release()
	return err
}

// A Summary is a run in a list.
type Summary struct {
	Meta
	Operation    string            `json:"operation"`
	Snapshotter  string            `json:"snapshotter"`
	Live         bool              `json:"live"`
	Claims       []string          `json:"claims,omitempty"` // still held
	Problem      string            `json:"problem,omitempty"`
	Damaged      bool              `json:"damaged,omitempty"`
	Idle         bool              `json:"-"` // cut off before its first intent: its claims keep nobody out
	ResumePolicy plan.ResumePolicy `json:"-"` // of its plan; empty where that is not read: of a run that is live or has ended
}

func summarize(j *Journal) Summary {
	return Summary{Meta: j.meta, Operation: j.plan.Operation, Snapshotter: j.plan.Snapshotter, Claims: claimsOf(j), Idle: idle(j), ResumePolicy: j.plan.ResumePolicy}
}

func (s *Store) writeSummary(sum Summary) {
	if body, err := json.Marshal(sum); err == nil {
		path := s.path(sum.Run, ".json")
		_ = os.Remove(path)
		if writeNew(path, body) != nil {
			_ = os.Remove(path) // half of it
		}
	}
}

func writeNew(path string, body []byte) error {
	f, err := openOwn(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Close())
}

// List returns all runs, oldest first: good rows, and rows whose Problem says
// why the journal could not be read.
func (s *Store) List() ([]Summary, error) { return s.list(true) }

// Newest goes through the runs from the newest on, and reads of them no more than it is asked for: a machine has thousands.
func (s *Store) Newest() iter.Seq[Summary] {
	return func(yield func(Summary) bool) {
		journals, files, err := s.names()
		if err != nil {
			return
		}
		for _, id := range slices.Backward(journals) {
			if sum, there := s.summary(plan.RunID(id), files[id+".json"]); there && !yield(sum) {
				return
			}
		}
	}
}

// IDs returns the ids of all runs, oldest first. It reads no journal.
func (s *Store) IDs() (ids []plan.RunID, err error) {
	journals, _, err := s.names()
	for _, id := range journals {
		ids = append(ids, plan.RunID(id))
	}
	return ids, err
}

// Sockets returns the runs that have a status socket, oldest first: live ones, and those whose process was killed.
func (s *Store) Sockets() (ids []plan.RunID, err error) {
	journals, files, err := s.names()
	for _, id := range journals {
		if files[id+".sock"] {
			ids = append(ids, plan.RunID(id))
		}
	}
	return ids, err
}

// Unfinished is List without the runs that ended, at a cost that does not grow
// with their number: only an ended run has a summary beside its journal.
func (s *Store) Unfinished() ([]Summary, error) { return s.list(false) }

func (s *Store) list(ended bool) ([]Summary, error) {
	journals, files, err := s.names()
	if err != nil {
		return nil, err
	}
	var out []Summary
	for _, id := range journals {
		if !ended && files[id+".json"] && !files[id+".sock"] {
			continue
		}
		sum, there := s.summary(plan.RunID(id), files[id+".json"])
		if there && (ended || !sum.Outcome.Ended()) {
			out = append(out, sum)
		}
		if files[id+".sock"] && (!there || sum.Outcome.Ended()) {
			_ = os.Remove(s.Socket(plan.RunID(id))) // of a process that was killed as it ended
		}
	}
	return out, nil
}

// names returns the ids of all runs, oldest first, and what else is in their folder.
func (s *Store) names() (journals []string, files map[string]bool, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "runs"))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list runs: %w", err)
	}
	files = make(map[string]bool, len(entries))
	for _, e := range entries { // sorted by name
		files[e.Name()] = true
		if id, ok := strings.CutSuffix(e.Name(), ".db"); ok {
			journals = append(journals, id)
		}
	}
	slices.Sort(journals)
	return journals, files, nil
}

// summary is one row; there is none when the file has gone meanwhile.
func (s *Store) summary(run plan.RunID, cached bool) (sum Summary, there bool) {
	if cached {
		if body, err := readOwn(s.path(run, ".json")); err == nil && json.Unmarshal(body, &sum) == nil && sum.Outcome.Ended() && sum.Run == run {
			return sum, true
		}
	}
	sum = Summary{Meta: Meta{Run: run}}
	j, err := open(s.path(run, ".db"), true)
	if err != nil {
		var d *DamagedError
		sum.Live, sum.Damaged, sum.Problem = errors.Is(err, ErrLive), errors.As(err, &d), err.Error()
		return sum, !errors.Is(err, os.ErrNotExist)
	}
	defer j.Close()
	sum = summarize(j)
	sum.Run = run
	if sum.Outcome.Ended() {
		s.writeSummary(sum)
	}
	return sum, true
}

// Read opens a run that is not live, for looking only.
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

// SetAside moves a journal that must not be used out of the way, and says
// where to. Nothing is deleted.
func (s *Store) SetAside(run plan.RunID) (string, error) {
	if err := checkID(run); err != nil {
		return "", err
	}
	to := filepath.Join(s.dir, "damaged", string(run)+".db")
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	if err := os.Rename(s.path(run, ".db"), to); err != nil {
		return "", fmt.Errorf("cannot move the journal of run %s to damaged/: %w", run, err)
	}
	_ = os.Remove(s.path(run, ".json"))
	_ = os.Remove(s.Socket(run))
	return to, nil
}

// Prune removes ended runs beyond the newest keep ones that are older than
// age. Unfinished and failed runs are never removed. A run's age is looked up
// only where its id is old: the id is made of the time.
func (s *Store) Prune(keep int, age time.Duration, now time.Time) error {
	s.sweep()
	defer s.forgetKeys()
	journals, files, err := s.names()
	if err != nil {
		return err
	}
	ended := slices.DeleteFunc(journals, func(id string) bool { return !files[id+".json"] })
	for i := 0; i < len(ended)-keep; i++ {
		if made, ok := createdAt(ended[i]); ok && now.Sub(made) < age {
			break // the others are younger
		}
		run := plan.RunID(ended[i])
		r, there := s.summary(run, true)
		if !there || r.Problem != "" || !r.Outcome.Ended() || now.Sub(r.Created) < age {
			continue
		}
		// The journal last: a summary without one lists nothing.
		_ = os.Remove(s.path(run, ".json"))
		_ = os.Remove(s.path(run, ".sock"))
		if err := os.Remove(s.path(run, ".db")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot prune run %s: %w", run, err)
		}
	}
	return nil
}

// createdAt is the time in an id that NewRunID made.
func createdAt(id string) (time.Time, bool) {
	const layout = "20060102T150405"
	if len(id) < len(layout) {
		return time.Time{}, false
	}
	made, err := time.Parse(layout, id[:len(layout)])
	return made, err == nil
}

// sweep removes what killed processes left: journals that they had not made yet, and sockets without a journal. Who is
// making a journal has it locked, but for the moment between opening and locking it; a journal lost then is created again.
func (s *Store) sweep() {
	unborn, _ := filepath.Glob(filepath.Join(s.dir, "runs", "*.db.new"))
	for _, p := range unborn {
		f, err := openOwn(p, os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(p)
		}
		_ = f.Close()
	}
	sockets, _ := filepath.Glob(filepath.Join(s.dir, "runs", "*.sock"))
	for _, p := range sockets {
		if _, err := os.Lstat(strings.TrimSuffix(p, ".sock") + ".db"); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(p)
		}
	}
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
