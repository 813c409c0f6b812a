package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ListFrozen lists what ThawOwned would act on and changes nothing: each file system that an owned file of this boot
// in dir names. The outcome is IsLive if a live run holds it, and "" if nobody is left to thaw it. The kernel does
// not show whether it is still frozen; thawing one that is not does no harm.
func ListFrozen(ctx context.Context, dir string) ([]Thawed, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+ownedSuffix))
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", dir, err)
	}
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // Glob passes over what it may not read
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	var left []Thawed
	var problems []error
	for _, name := range names {
		f, r, free, err := readOwned(name)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // else its run has just ended
				problems = append(problems, err)
			}
			continue
		}
		outcome := Outcome("")
		if !free && r.Boot == boot && r.custody() != stuck && r.live(ctx, func() bool { return !isCurrent(f, name) }) {
			outcome = IsLive
		}
		f.Close()
		if r.Boot != boot {
			continue
		}
		for _, m := range r.Mounts {
			left = append(left, r.thawedOf(m, outcome))
		}
	}
	return left, errors.Join(problems...)
}
