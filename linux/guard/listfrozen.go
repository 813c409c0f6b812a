package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ListFrozen tells what ThawOwned would look at, and changes nothing: each file system that an owned file of this boot in dir
// names, with the outcome IsLive where a run that lives holds it, and "" where nobody does who would thaw it. Whether
// such a one is frozen still, the kernel does not tell; a thaw does no harm where it is not.
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
