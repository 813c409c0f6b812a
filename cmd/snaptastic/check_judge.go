package main

import (
	"time"

	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// A verdict is a finding in the words of a report.
type verdict struct{ snapset.Finding }

// judge finds what is covered; see snapset.Covered.
func judge(s snapset.Scope, volumes []ec2.Volume, snapshots *snapset.Index, now time.Time, maxAge time.Duration) []verdict {
	var out []verdict
	for _, f := range snapset.Covered(s, volumes, snapshots, now, maxAge) {
		out = append(out, verdict{f})
	}
	return out
}
