package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
)

// Hook runs a user's program. Nothing shows whether it ran, so after a crash inside it runs again.
var Hook = plan.Def[HookIn, HookRan]{Kind: "hook", ObserveBy: plan.Blind, Scope: plan.Boot}

// HookIn is the program and what it is told.
type HookIn struct {
	Name        string        `json:"name"`    // pre_mounts, post_snapshot, …
	Command     []string      `json:"command"` // argv, no shell
	Timeout     plan.Duration `json:"timeout"`
	Tolerated   bool          `json:"tolerated,omitempty"` // held hooks: a failure is passed over
	Operation   string        `json:"operation"`
	Snapshotter string        `json:"snapshotter"`
	Volumes     []HookVolume  `json:"volumes"`
	Of          string        `json:"of,omitempty"` // mount point of the one volume that a singular hook is for
	// IfChanged: only where the mount mounts something. Pre is what a post hook's fellow did.
	IfChanged bool                `json:"if_changed,omitempty"`
	Pre       plan.Value[HookRan] `json:"pre,omitzero"`
	// IfMounted: only where a volume was found mounted, so that there is something to stop. IfBack: only where all volumes that
	// were found mounted are mounted again, which they are after a restore that did not come to its end.
	IfMounted bool `json:"if_mounted,omitempty"`
	IfBack    bool `json:"if_back,omitempty"`
}

// HookVolume is a volume as far as it is known when the hook runs.
type HookVolume struct {
	Device     string                  `json:"device"`
	MountPoint string                  `json:"mount_point"`
	FileSystem string                  `json:"file_system"`
	Found      plan.Value[FoundVolume] `json:"found"`
	Volume     plan.Value[Volume]      `json:"volume"`
	Taken      plan.Value[SnapshotSet] `json:"taken"`
	Mounted    plan.Value[Mounted]     `json:"mounted,omitzero"`
}

// HookRan tells how the program ended.
type HookRan struct {
	ExitCode int           `json:"exit_code"`
	Took     plan.Duration `json:"took"`
	Skipped  bool          `json:"skipped,omitempty"` // there was nothing to change
}

// HookProgram is the program that a step of this kind runs; "" for a step of another kind.
func HookProgram(s *plan.Step) string {
	var in HookIn
	if s.Kind != Hook.Kind || json.Unmarshal(s.In, &in) != nil || len(in.Command) == 0 {
		return ""
	}
	return in.Command[0]
}

// String says it where it did not run.
func (r HookRan) String() string {
	if r.Skipped {
		return nothingToChange
	}
	return ""
}

const nothingToChange = "skipped: nothing to change"

func (w *Env) hook() plan.Funcs[HookIn, HookRan] {
	return plan.Funcs[HookIn, HookRan]{
		Do: func(ctx context.Context, a plan.Attempt, in HookIn) (HookRan, error) {
			if in.IfChanged {
				changes, err := w.changes(in)
				if err != nil {
					return HookRan{}, err
				}
				if !changes {
					return HookRan{Skipped: true}, nil
				}
			}
			if in.IfMounted && !slices.ContainsFunc(in.Volumes, func(v HookVolume) bool { return v.Found.Must().Mounted }) {
				return HookRan{Skipped: true}, nil
			}
			if in.IfBack {
				if why, err := w.notBack(in); err != nil || why != "" {
					return HookRan{}, cmp.Or(err, plan.Skip(errors.New(why)))
				}
			}
			if err := w.checkHookMounts(ctx, in); err != nil {
				return HookRan{}, err
			}
			r, err := w.Host.RunHook(ctx, w.hookRequest(a, in))
			return HookRan{ExitCode: r.ExitCode, Took: plan.Duration(r.Duration)}, err
		},
		Preview: HookIn.preview,
	}
}

// notBack says why the volumes that were found mounted are not what is mounted now; "" when they are.
func (w *Env) notBack(in HookIn) (string, error) {
	any := false
	for _, v := range in.Volumes {
		f, known := v.Found.Get()
		if !known || !f.Mounted || in.Of != "" && in.Of != v.MountPoint {
			continue
		}
		any = true
		at, err := w.occupantOf(v.MountPoint)
		if err != nil {
			return "", err
		}
		if !at.mounted || !w.isMounted(Mounted{VolumeID: f.VolumeID, Source: f.Node}, at) {
			return fmt.Sprintf("%s is not mounted on %s", f.VolumeID, v.MountPoint), nil
		}
	}
	if !any {
		return "no volume was mounted before", nil
	}
	return "", nil
}

// changes reports whether the mount that the hook belongs to mounts anything. A pre hook depends on what was found, and by what is
// mounted now: a reboot may lie between. A post hook runs where its fellow ran, and where a volume was mounted that had been
// there when the pre hook looked. A volume whose lane failed or is left alone is no change.
func (w *Env) changes(in HookIn) (bool, error) {
	if pre, known := in.Pre.Get(); known && !pre.Skipped {
		return true, nil
	}
	for _, v := range in.Volumes {
		if m, known := v.Mounted.Get(); known && m.New {
			return true, nil
		}
		f, known := v.Found.Get()
		switch {
		case !known:
			continue
		case !f.Mounted:
			return true, nil
		}
		if at, err := w.occupantOf(v.MountPoint); err != nil || !at.mounted {
			return true, err
		}
	}
	return false, nil
}

// preview needs to know of every volume to say that a hook will not run.
func (in HookIn) preview() plan.Preview {
	run := plan.PreviewOf(plan.PreviewRun, "run %q", in.Command)
	if in.IfBack {
		return plan.PreviewOf(plan.PreviewRun, "run %q if the volumes of now come back", in.Command)
	}
	if !in.IfChanged {
		return run
	}
	mounted := 0
	for _, v := range in.Volumes {
		f, known := v.Found.Get()
		if known && !f.Mounted {
			return run
		}
		if known {
			mounted++
		}
	}
	if pre, known := in.Pre.Get(); mounted == len(in.Volumes) && (!known || pre.Skipped) {
		return plan.PreviewOf(plan.PreviewSkip, nothingToChange)
	}
	return plan.PreviewOf(plan.PreviewRun, "run %q if something changes", in.Command)
}

// hookContext is what a hook reads on its standard input. The names are stable.
type hookContext struct {
	Operation   string         `json:"operation"`
	Snapshotter string         `json:"snapshotter"`
	Run         plan.RunID     `json:"run"`
	Hook        string         `json:"hook"`
	Version     string         `json:"version,omitempty"`
	Instance    hookInstance   `json:"instance"`
	Volumes     []volumeOfHook `json:"volumes"`
	Volume      *volumeOfHook  `json:"volume,omitempty"` // of a hook that runs per volume
}

type hookInstance struct {
	ID      string `json:"id"`
	Region  string `json:"region"`
	Zone    string `json:"availability_zone"`
	Account string `json:"account_id,omitempty"`
}

type volumeOfHook struct {
	Device     string `json:"device"`
	MountPoint string `json:"mount_point"`
	FileSystem string `json:"file_system"`
	VolumeID   string `json:"volume_id,omitempty"`
	// SnapshotID is the snapshot just taken, or the one that the volume was made from.
	SnapshotID string `json:"snapshot_id,omitempty"`
}

func (v HookVolume) known() volumeOfHook {
	out := volumeOfHook{Device: v.Device, MountPoint: v.MountPoint, FileSystem: v.FileSystem}
	if f, known := v.Found.Get(); known && f.Found {
		out.VolumeID, out.SnapshotID = f.VolumeID, f.SnapshotID
	}
	if made, known := v.Volume.Get(); known {
		out.VolumeID, out.SnapshotID = made.VolumeID, made.SnapshotID
	}
	if set, known := v.Taken.Get(); known {
		if t, ok := set.of(v.MountPoint); ok {
			out.VolumeID, out.SnapshotID = t.VolumeID, t.SnapshotID
		}
	}
	return out
}

func (w *Env) hookRequest(a plan.Attempt, in HookIn) linux.HookRequest {
	c := hookContext{Operation: in.Operation, Snapshotter: in.Snapshotter, Run: a.Run, Hook: in.Name, Version: w.Version,
		Instance: w.Instance.forHooks(), Volumes: []volumeOfHook{}}
	env := append([]string{}, w.Environ...)
	set := func(name, value string) {
		if value != "" {
			env = append(env, "SNAPTASTIC_"+name+"="+value)
		}
	}
	for _, v := range in.Volumes {
		known := v.known()
		c.Volumes = append(c.Volumes, known)
		if v.MountPoint == in.Of {
			c.Volume = &known
			set("DEVICE", known.Device)
			set("MOUNT_POINT", known.MountPoint)
			set("FILE_SYSTEM", known.FileSystem)
			set("VOLUME_ID", known.VolumeID)
			set("SNAPSHOT_ID", known.SnapshotID)
		}
	}
	set("OPERATION", in.Operation)
	set("SNAPSHOTTER", in.Snapshotter)
	set("RUN", string(a.Run))
	set("HOOK", in.Name)
	set("VERSION", w.Version)
	set("INSTANCE_ID", w.Instance.ID)
	set("REGION", w.Instance.Region)
	set("AVAILABILITY_ZONE", w.Instance.Zone)
	set("ACCOUNT_ID", w.Instance.Account)
	stdin, err := json.Marshal(c)
	if err != nil { // strings only
		panic("internal error: cannot marshal a hook's context: " + err.Error())
	}
	r := linux.HookRequest{Command: in.Command, Env: env, Stdin: append(stdin, '\n'), Timeout: time.Duration(in.Timeout),
		Run: string(a.Run), RecordDir: w.HookDir}
	if w.HookOutput != nil {
		r.Output = func(line string) { w.HookOutput(a.Step, line) }
	}
	return r
}

func (i Instance) forHooks() hookInstance {
	return hookInstance{ID: i.ID, Region: i.Region, Zone: i.Zone, Account: i.Account}
}
