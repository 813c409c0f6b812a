package main

import (
	"fmt"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

// holding is such as "12 sets (24 snapshots of 480 GiB), 120.5 GiB of data".
func holding(h engine.Holding) string {
	text := fmt.Sprintf("%s (%s of %d GiB)", number(h.Sets, "set"), number(h.Snapshots, "snapshot"), h.Volumes)
	switch {
	case h.Unsized == h.Snapshots:
		return text
	case h.Unsized > 0:
		return fmt.Sprintf("%s, %s of data in the %d snapshots whose full size EC2 gives", text, render.Bytes(h.FullSize), h.Snapshots-h.Unsized)
	}
	return text + ", " + render.Bytes(h.FullSize) + " of data"
}
