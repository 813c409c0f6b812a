package journal

import (
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

// SetAside moves a journal that must not be used to damaged/, and returns its
// new path. Nothing is deleted.
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
		_ = os.Remove(s.path(run, ".sock.new"))
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

// sweep removes what killed processes left: journals that were not complete, and sockets without a journal. A process that
// creates a journal has it locked, except between opening and locking it; a journal removed then is created again.
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
	sockets, _ := filepath.Glob(filepath.Join(s.dir, "runs", "*.sock*")) // also those that did not answer yet, RUN.sock.new
	for _, p := range sockets {
		if _, err := os.Lstat(strings.TrimSuffix(strings.TrimSuffix(p, ".new"), ".sock") + ".db"); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(p)
		}
	}
}
