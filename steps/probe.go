package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/steps/snapset"
)

// Probe runs the user's program on the restored volumes: it alone knows what makes them good. Nothing shows whether it ran.
var Probe = plan.Def[ProbeIn, Probed]{Kind: "probe", ObserveBy: plan.Blind, Scope: plan.Boot}

// ProbeIn is the program; an empty command is content with volumes that can be mounted.
type ProbeIn struct {
	Command     []string                   `json:"command,omitempty"` // argv, no shell
	Timeout     plan.Duration              `json:"timeout,omitempty"`
	Operation   string                     `json:"operation"`
	Snapshotter string                     `json:"snapshotter"`
	Choices     plan.Value[Choices]        `json:"choices"`
	Chosen      []plan.Value[Choice]       `json:"chosen,omitempty"` // what each lane took in the end
	Mounts      []plan.Value[ScratchMount] `json:"mounts"`
	Volumes     []HookVolume               `json:"volumes"`
}

// Probed tells what the program said. At is when: the restore was complete then, or proved to be impossible.
type Probed struct {
	Trial
	At time.Time `json:"at"`
}

// String says it.
func (p Probed) String() string { return cmp.Or(p.Bad, "good") }

func (w *Env) probe() plan.Funcs[ProbeIn, Probed] {
	return plan.Funcs[ProbeIn, Probed]{
		Do: func(ctx context.Context, a plan.Attempt, in ProbeIn) (out Probed, err error) {
			out.Trial, err = trial(func() (string, error) {
				for _, m := range in.Mounts {
					if bad := m.Must().Bad; bad != "" {
						return bad, nil
					}
				}
				if len(in.Command) == 0 {
					return "", nil
				}
				return w.runProbe(ctx, a, in)
			})
			out.At = time.Now().UTC()
			return out, err
		},
		Preview: func(in ProbeIn) plan.Preview {
			if len(in.Command) == 0 {
				return plan.PreviewOf(plan.PreviewNone, "no probe is declared")
			}
			return plan.PreviewOf(plan.PreviewRun, "run %q", in.Command)
		},
	}
}

// runProbe runs the program. What it says about the set is no error; that it could not be run is one.
func (w *Env) runProbe(ctx context.Context, a plan.Attempt, in ProbeIn) (bad string, err error) {
	q := w.hookRequest(a, HookIn{Name: "probe", Command: in.Command, Timeout: in.Timeout, Operation: in.Operation, Snapshotter: in.Snapshotter, Volumes: in.Volumes})
	set := setOf(taken(in.Choices.Must(), in.Chosen))
	q.Env = append(q.Env, "SNAPTASTIC_VERIFY_ROOT="+w.scratchRoot(a.Run), "SNAPTASTIC_VERIFY_SCRATCH="+filepath.Join(w.scratchFolder(a.Run), "scratch"),
		"SNAPTASTIC_SET="+set.name, "SNAPTASTIC_DATA_TIME="+stampOrNone(set.data))
	q.Idle, q.Errors = true, true
	r, err := w.Host.RunHook(ctx, q)
	exit, ended := errors.AsType[*exec.ExitError](err)
	said := snapset.OneLine(r.LastError)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, linux.ErrHookTimedOut):
		bad = fmt.Sprintf("the probe timed out after %s", units.Took(time.Duration(in.Timeout)))
		if said != "" {
			bad += ": " + said
		}
		return bad, nil
	case ended:
		return cmp.Or(said, fmt.Sprintf("the probe failed (%s)", exit)), nil
	}
	return "", err
}

// taken are the choices as the lanes took them: one that had a problem may have been chosen anew, which is in its lane's output alone.
func taken(choices Choices, chosen []plan.Value[Choice]) Choices {
	out := slices.Clone(choices)
	for _, v := range chosen {
		one, known := v.Get()
		for i := range out {
			if known && one.SnapshotID != "" && out[i].MountPoint == one.MountPoint {
				out[i] = one
			}
		}
	}
	return out
}

// chosenSet is the set that some choices are of.
type chosenSet struct {
	name string
	data time.Time
	ids  []string
}

// setOf names the set as its tag does, or else by the run that made it, or by a snapshot. Its data is as old as the oldest of it.
func setOf(c Choices) (s chosenSet) {
	for _, one := range c {
		if one.SnapshotID == "" {
			continue
		}
		s.ids = append(s.ids, one.SnapshotID)
		s.name = cmp.Or(s.name, one.Set, one.Run, one.SnapshotID)
		if s.data.IsZero() || one.Created.Before(s.data) {
			s.data = one.Created
		}
	}
	return s
}

func stampOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}
