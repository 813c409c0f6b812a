package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
)

// expeditedKnob makes the kernel's RCU grace periods short at the cost of interrupting every CPU
// (Documentation/RCU, kernel/rcu/update.c rcu_expedited). A freeze waits for several of them, a thaw for none.
const expeditedKnob = "/sys/kernel/rcu_expedited"

// expedite is a claim to expeditedKnob. Several guards may want it at the same time, so each has a claim file that is
// locked while its parent or guard lives, and the last one to leave restores the original value.
type expedite struct {
	Dir      string // directory of the claims
	Path     string // this claim
	Original string // value to put back
	lock     *os.File
}

// claimRecord is the content of a claim file.
type claimRecord struct {
	Boot     string   `json:"boot"`
	Original string   `json:"original"`
	Parent   identity `json:"parent"`
}

const claimSuffix = ".rcu.json"

// claimExpedite writes a claim and changes nothing yet.
func claimExpedite(dir string) (_ *expedite, err error) {
	if dir == "" {
		return nil, errors.New("internal error: no directory to save the setting in")
	}
	unlock, err := lockClaims(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := claimRecord{}
	if r.Boot, err = bootID(); err != nil {
		return nil, err
	}
	if r.Parent, err = identify(os.Getpid()); err != nil {
		return nil, err
	}
	if r.Original, _, err = sweepClaims(dir, r.Boot); err != nil {
		return nil, err
	}
	if r.Original == "" {
		b, err := os.ReadFile(expeditedKnob)
		if err != nil {
			return nil, err
		}
		r.Original = strings.TrimSpace(string(b))
	}
	f, err := os.CreateTemp(dir, "*"+claimSuffix)
	if err != nil {
		return nil, err
	}
	e := &expedite{Dir: dir, Path: f.Name(), Original: r.Original, lock: f}
	b, _ := json.Marshal(r) // strings and numbers
	if err := errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), os.WriteFile(e.Path, b, 0o600), f.Sync()); err != nil {
		_ = os.Remove(e.Path)
		e.close()
		return nil, err
	}
	return e, nil
}

// begin sets the knob. If that fails, the freeze is slower but correct.
func (e *expedite) begin() {
	if e != nil {
		_ = os.WriteFile(expeditedKnob, []byte("1"), 0)
	}
}

// end releases the claim once: the second of parent and guard finds it gone and does nothing.
func (e *expedite) end() {
	if e == nil {
		return
	}
	unlock, err := lockClaims(e.Dir)
	if err != nil {
		return // the claim stays, and ThawOwned or the next guard sees to it
	}
	defer unlock()
	if os.Remove(e.Path) != nil {
		return
	}
	boot, err := bootID()
	if err != nil {
		return
	}
	if _, live, err := sweepClaims(e.Dir, boot); err == nil && !live {
		_ = os.WriteFile(expeditedKnob, []byte(e.Original), 0)
	}
}

func (e *expedite) close() {
	if e != nil && e.lock != nil {
		e.lock.Close()
	}
}

// clearExpedite restores the value that dead guards left changed.
func clearExpedite(dir string) error {
	if claims, err := filepath.Glob(filepath.Join(dir, "*"+claimSuffix)); err != nil || len(claims) == 0 {
		return err
	}
	unlock, err := lockClaims(dir)
	if err != nil {
		return err
	}
	defer unlock()
	boot, err := bootID()
	if err != nil {
		return err
	}
	original, live, err := sweepClaims(dir, boot)
	if err != nil || live || original == "" {
		return err
	}
	return os.WriteFile(expeditedKnob, []byte(original), 0)
}

// sweepClaims reads every claim and removes the dead ones. original is the value from before the first claim of this
// boot, "" if there was none; live reports whether a claim is left.
func sweepClaims(dir, boot string) (original string, live bool, err error) {
	claims, err := filepath.Glob(filepath.Join(dir, "*"+claimSuffix))
	if err != nil {
		return "", false, err
	}
	for _, name := range claims {
		f, err := linux.OpenOwned(name, os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		var r claimRecord
		b, _ := io.ReadAll(f)
		if json.Unmarshal(b, &r) == nil && r.Boot == boot {
			original = r.Original
		}
		if flockSoon(f, !r.Parent.alive()) != nil {
			live = true
		} else {
			_ = os.Remove(name)
		}
		f.Close()
	}
	return original, live, nil
}

// lockClaims locks all claims, so that reading and changing them is atomic.
func lockClaims(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := linux.OpenOwned(filepath.Join(dir, ".rcu.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flockSoon(f, true); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// flockSoon locks the file, waiting for a second at most, or not at all.
func flockSoon(f *os.File, patient bool) (err error) {
	for range 100 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil || !patient {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
