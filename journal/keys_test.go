package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAKeyIsLockedByOneAndRemembersItsRun(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.LockKey("set/host")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.LockKey("set/host"); !errors.Is(err, ErrLive) {
		t.Errorf("a second lock: %v", err)
	}
	other, err := s.LockKey("set/other")
	if err != nil {
		t.Fatal(err)
	}
	other.Release()
	if run := s.RunOfKey("set/host"); run != "" {
		t.Errorf("it knows %q", run)
	}
	if err := a.Begins("20261128T120000000-aaaa"); err != nil {
		t.Fatal(err)
	}
	a.Release()
	b, err := s.LockKey("set/host")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	if run := s.RunOfKey("set/host"); run != "20261128T120000000-aaaa" {
		t.Errorf("it knows %q", run)
	}
}

// A key is known for as long as its run's journal, and until it is an hour old: its journal may be about to be made.
func TestKeysAreForgottenWithTheirJournals(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	use := func(key string, at time.Time) string {
		l, err := s.LockKey(key)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
		if err := l.Begins("20261128T120000000-aaaa"); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(s.keyPath(key), at, at); err != nil {
			t.Fatal(err)
		}
		return s.keyPath(key)
	}
	known, gone, young, locked := use("known", old), use("gone", old), use("young", time.Now()), use("locked", old)
	if err := os.WriteFile(known, []byte("20261128T120000000-bbbb\nknown\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(known, old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "runs", "20261128T120000000-bbbb.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := s.LockKey("locked")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	s.forgetKeys()
	for path, want := range map[string]bool{known: true, gone: false, young: true, locked: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: kept %t, want %t", filepath.Base(path), err == nil, want)
		}
	}
}
