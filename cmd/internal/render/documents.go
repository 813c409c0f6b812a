package render

import (
	"time"

	"snaptastic/cmd/internal/engine"
)

// VersionView is what `version` prints for programs.
type VersionView struct {
	Version string `json:"version"`
}

// CleanView is what a clean-up that deletes nothing prints for programs.
type CleanView struct {
	Operation   string                 `json:"operation"`
	Snapshotter string                 `json:"snapshotter"` // "" for all
	At          time.Time              `json:"at"`
	Decisions   []engine.CleanDecision `json:"decisions"`
	Kept        engine.Holding         `json:"kept"` // the sets that a snapshotter's rules, or what stands above them, keep
}

// InstancesView is what `clean instances` prints for programs.
type InstancesView struct {
	Operation   string                `json:"operation"`
	Snapshotter string                `json:"snapshotter"`
	Running     int                   `json:"running"`
	CPUBelow    float64               `json:"cpu_below_percent"`
	Instances   []engine.IdleInstance `json:"instances"`
}

// checkView is what `check` prints for programs.
type checkView struct {
	OK            bool                  `json:"ok"`
	CheckedAt     time.Time             `json:"checked_at"`
	MaxAgeSeconds int64                 `json:"max_age_seconds"`
	Gaps          int                   `json:"gaps"`
	Findings      []engine.CheckFinding `json:"findings"`
}
