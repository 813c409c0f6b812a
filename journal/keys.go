package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/plan"
)

// MaxKey is how many characters a key may have: it is the value of a tag, which may have 256.
const MaxKey = 200

// CheckKey refuses what is not a key: letters, digits and ._:/@+=- after a letter or a digit, which all are allowed in the
// value of a tag.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("a key has 1 to %d characters, this one has %d", MaxKey, len(key))
	}
	for i, r := range key {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !word && (i == 0 || !strings.ContainsRune("._:/@+=-", r)) {
			return fmt.Errorf("key %q: must be letters, digits and ._:/@+=-, and begin with a letter or a digit", key)
		}
	}
	return nil
}

// A KeyLock is held by the process that runs something under a key, and knows the run that was begun under it.
//
//	STATE/keys/HASH   a line with the run, a line with the key; the lock is on this file
//
// The run is written, and on disk, before its journal is made: a key that names a run without a journal was never used.
type KeyLock struct {
	f   *os.File
	key string
}

func (s *Store) keyPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, "keys", hex.EncodeToString(sum[:16]))
}

// LockKey locks a key without waiting. ErrLive when another process has it.
func (s *Store) LockKey(key string) (*KeyLock, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	path := s.keyPath(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot use key %s: %w", key, err)
	}
	for {
		f, err := openOwn(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot use key %s: %w", key, err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrLive
			}
			return nil, fmt.Errorf("cannot use key %s: %w", key, err)
		}
		if here, err := os.Lstat(path); err == nil {
			if fi, err := f.Stat(); err == nil && os.SameFile(here, fi) {
				return &KeyLock{f, key}, nil
			}
		}
		_ = f.Close() // it was removed between being opened and being locked
	}
}

// Release lets another process have the key.
func (l *KeyLock) Release() { _ = l.f.Close() }

// Begins makes it durable that the run is the one of the key.
func (l *KeyLock) Begins(run plan.RunID) error {
	words := string(run) + "\n" + l.key + "\n"
	_, err := l.f.WriteAt([]byte(words), 0) // less than a sector: it is there or it is not
	if err == nil {
		err = l.f.Truncate(int64(len(words)))
	}
	if err == nil {
		err = l.f.Sync()
	}
	if err == nil {
		err = syncDir(l.f.Name())
	}
	if err != nil {
		return fmt.Errorf("cannot record key %s: %w", l.key, err)
	}
	return nil
}

// RunOfKey is the run that was begun under a key; "" for none.
func (s *Store) RunOfKey(key string) plan.RunID {
	run, _ := readKey(s.keyPath(key))
	return run
}

func readKey(path string) (run plan.RunID, key string) {
	body, _ := readOwn(path)
	id, rest, whole := strings.Cut(string(body), "\n")
	key, _, ended := strings.Cut(rest, "\n")
	if !whole || !ended || checkID(plan.RunID(id)) != nil {
		return "", ""
	}
	return plan.RunID(id), key
}

// IsDamaged reports that the journal of a run was set aside.
func (s *Store) IsDamaged(run plan.RunID) bool {
	_, err := os.Lstat(filepath.Join(s.dir, "damaged", string(run)+".db"))
	return err == nil
}

// forgetKeys removes the keys of runs whose journals are gone.
func (s *Store) forgetKeys() {
	paths, _ := filepath.Glob(filepath.Join(s.dir, "keys", "*"))
	for _, path := range paths {
		fi, err := os.Lstat(path)
		if err != nil || time.Since(fi.ModTime()) < time.Hour || s.keptOf(path) { // young ones are about to be used
			continue
		}
		f, err := openOwn(path, os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && !s.keptOf(path) {
			_ = os.Remove(path)
		}
		_ = f.Close()
	}
}

// keptOf reports whether the run of a key is known.
func (s *Store) keptOf(path string) bool {
	run, _ := readKey(path)
	return run != "" && (s.Exists(run) || s.IsDamaged(run))
}

// Exists reports that a run has a journal here.
func (s *Store) Exists(run plan.RunID) bool {
	_, err := os.Lstat(s.path(run, ".db"))
	return err == nil
}
