package recipe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The flags that say which snapshots to restore. At most one of them is given.
var (
	Set    = Flag{"set", "", "restore this `set`: a run's id, or the id of one of its snapshots, as `snaptastic snapshots` lists them"}
	Before = Flag{"before", "", "restore the newest set of this `time` or earlier: 2026-11-20T04:00:00Z, 2026-11-20 (UTC), or an age such as 3d, 12h or 90m"}
	Snap   = Flag{"snapshot", "", "restore this `snapshot`, and only the volume that it is of"}
)

// choosing are the flags of which one is enough.
var choosing = []Flag{Set, Before, Snap}

// Asked checks what the options say about which snapshots to restore, and makes a time of an age: what is compiled then
// chooses the same tomorrow. readTime reads a time or an age.
func (o Options) Asked(op *Operation, readTime func(string) (time.Time, error)) (Options, error) {
	var given []string
	out := Options{}
	for name, value := range o {
		out[name] = value
	}
	for _, f := range choosing {
		if slices.ContainsFunc(op.Flags, func(have Flag) bool { return have.Name == f.Name }) && o.Text(f) != "" {
			given = append(given, "--"+f.Name)
		}
	}
	if len(given) == 0 {
		return o, nil
	}
	if len(given) > 1 {
		return nil, fmt.Errorf("%s cannot be used together", strings.Join(given, " and "))
	}
	if text := o.Text(Before); text != "" {
		at, err := readTime(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", Before.Name, err)
		}
		out[Before.Name] = at.UTC().Format(time.RFC3339)
	}
	return out, nil
}

// Only leaves the one volume in the spec that has the mount point.
func (s Spec) Only(mountPoint string) Spec {
	s.Volumes = slices.DeleteFunc(slices.Clone(s.Volumes), func(v Volume) bool { return v.MountPoint != mountPoint })
	return s
}
