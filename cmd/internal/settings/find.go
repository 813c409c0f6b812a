package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// EnvPath is the environment variable that names the settings file.
const EnvPath = "SNAPTASTIC_SETTINGS"

// fleetFile is in the same folder, and is the settings of snaptastic-fleet.
const fleetFile = "fleet.hcl"

// ErrNotFound is what Find's error wraps when there is no settings file at all.
var ErrNotFound = errors.New("no settings file")

// Find says which files to load: flag (of --settings), else
// $SNAPTASTIC_SETTINGS, else ./snaptastic.hcl, else /etc/snaptastic.hcl
// together with /etc/snaptastic/*.hcl, except fleet.hcl. A file that flag or the
// environment names is returned unseen: Load says what is wrong with it.
func Find(flag string, getenv func(string) string) ([]string, error) {
	return find(flag, getenv, ".", "/etc")
}

func find(flag string, getenv func(string) string, here, etc string) ([]string, error) {
	if flag != "" {
		return []string{flag}, nil
	}
	if path := getenv(EnvPath); path != "" {
		return []string{path}, nil
	}
	local := filepath.Join(here, "snaptastic.hcl")
	if present(local) {
		return []string{local}, nil
	}
	var paths []string
	system := filepath.Join(etc, "snaptastic.hcl")
	if present(system) {
		paths = append(paths, system)
	}
	pieces := filepath.Join(etc, "snaptastic", "*.hcl")
	matches, err := filepath.Glob(pieces)
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", pieces, err)
	}
	matches = slices.DeleteFunc(matches, func(path string) bool { return filepath.Base(path) == fleetFile })
	slices.Sort(matches)
	paths = append(paths, matches...)
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: looked for --settings, $%s, %s, %s and %s", ErrNotFound, EnvPath, local, system, pieces)
	}
	return paths, nil
}

// present is true for a file that cannot be looked at, too: passing over it
// would run with other settings than the operator wrote.
func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}
