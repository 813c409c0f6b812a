package main

import (
	"fmt"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan/units"
)

// holding is such as "12 sets (24 snapshots of 480 GiB), 120.5 GiB of data".
func holding(h engine.Holding) string {
	text := fmt.Sprintf("%s (%s of %d GiB)", units.Count(h.Sets, "set", "sets"), units.Count(h.Snapshots, "snapshot", "snapshots"), h.Volumes)
	switch {
	case h.Unsized == h.Snapshots:
		return text
	case h.Unsized > 0:
		return fmt.Sprintf("%s, %s of data in the %d snapshots whose full size EC2 gives", text, render.Bytes(h.FullSize), h.Snapshots-h.Unsized)
	}
	return text + ", " + render.Bytes(h.FullSize) + " of data"
}
