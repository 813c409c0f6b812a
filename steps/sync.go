package steps

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
)

// Sync writes a file system out, so that the freeze will be short, and refuses one that must not be frozen.
var Sync = plan.Def[SyncIn, Synced]{Kind: "sync", Scope: plan.Boot, ReadOnly: true}

// SyncIn names the mount point and what must not lie on it.
type SyncIn struct {
	Found      plan.Value[FoundVolume] `json:"found"`
	MountPoint string                  `json:"mount_point"`
	Others     []string                `json:"others,omitempty"`   // mount points frozen together with it
	Programs   []string                `json:"programs,omitempty"` // of hooks
}

// Synced tells how long the last sync took: about what a freeze has to wait for.
type Synced struct {
	Rounds int           `json:"rounds"`
	Last   plan.Duration `json:"last"`
}

const (
	maxSyncs    = 8
	quickEnough = 50 * time.Millisecond
)

func (w *Env) sync() plan.Funcs[SyncIn, Synced] {
	return plan.Funcs[SyncIn, Synced]{
		Do: func(ctx context.Context, _ plan.Attempt, in SyncIn) (Synced, error) {
			if err := w.refuseRisks(in); err != nil || w.PreviewOnly {
				return Synced{}, err
			}
			var out Synced
			for out.Rounds < maxSyncs {
				took, err := w.Host.SyncFS(ctx, in.MountPoint)
				if err != nil {
					return out, err
				}
				before := time.Duration(out.Last)
				out.Rounds, out.Last = out.Rounds+1, plan.Duration(took)
				// A writer that keeps pace will not let it get quicker.
				if took < quickEnough || out.Rounds > 2 && took > before*9/10 {
					break
				}
			}
			return out, nil
		},
		Preview: func(in SyncIn) plan.Preview { return plan.PreviewOf(plan.PreviewRead, "write out %s", in.MountPoint) },
	}
}

func (w *Env) refuseRisks(in SyncIn) error {
	protected := slices.Clone(w.Protected)
	for _, p := range in.Programs {
		if path, err := exec.LookPath(p); err == nil {
			p = path
		}
		if filepath.IsAbs(p) {
			protected = append(protected, linux.NamedPath{Path: p, What: "a hook program"})
		}
	}
	for _, other := range in.Others {
		protected = append(protected, linux.NamedPath{Path: other, What: "the storage under another volume of the set"})
	}
	risks, err := w.Host.FreezeRisks(in.MountPoint, protected)
	if err != nil || len(risks) == 0 {
		return err
	}
	var words []string
	for _, r := range risks {
		words = append(words, r.String())
	}
	return plan.Terminal("move that elsewhere, or remove the volume from the snapshotter: a process that writes to a frozen file system blocks until the thaw",
		fmt.Errorf("cannot freeze %s: %s", in.MountPoint, strings.Join(words, "; ")))
}
