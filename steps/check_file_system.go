package steps

import (
	"context"
	"time"

	"snaptastic/linux"
	"snaptastic/plan"
)

// CheckFileSystem runs the file system's own check on a scratch volume. It writes nothing.
var CheckFileSystem = plan.Def[CheckFileSystemIn, Checked]{Kind: "check-file-system", Scope: plan.Boot, ReadOnly: true}

// CheckFileSystemIn names the file system.
type CheckFileSystemIn struct {
	Device     plan.Value[DeviceNode] `json:"device"`
	Replayed   plan.Value[Replayed]   `json:"replayed"`
	MountPoint string                 `json:"mount_point"`
	Timeout    plan.Duration          `json:"timeout"`
}

// Checked is a file system that was checked.
type Checked struct {
	Trial
	Skipped bool `json:"skipped,omitempty"` // there is no check for this kind of file system
}

// Facts say where it was not checked.
func (c Checked) Facts() plan.Facts {
	if c.Skipped {
		return plan.Facts{Remarks: []string{"not checked: there is no read-only check for this file system"}}
	}
	return plan.Facts{}
}

func (w *Env) checkFileSystem() plan.Funcs[CheckFileSystemIn, Checked] {
	return plan.Funcs[CheckFileSystemIn, Checked]{
		Do: func(ctx context.Context, a plan.Attempt, in CheckFileSystemIn) (out Checked, err error) {
			of := in.Replayed.Must()
			if of.Bad != "" {
				return Checked{Trial: Trial{Bad: of.Bad, Began: of.Began}}, nil
			}
			out.Trial, err = trial(func() (string, error) {
				r, err := w.Host.CheckFileSystem(ctx, linux.CheckRequest{Device: in.Device.Must().Path, Partition: of.Partition, FileSystem: of.FileSystem,
					Timeout: time.Duration(in.Timeout), Run: string(a.Run), RecordDir: w.HookDir})
				for _, line := range r.Lines {
					w.log().Warn(line, "step", a.Step)
				}
				out.Skipped = len(r.Command) == 0
				if r.Problem == "" || err != nil {
					return "", err
				}
				return in.MountPoint + ": " + r.Problem, nil
			})
			return out, err
		},
		Preview: func(CheckFileSystemIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRead, "check the file system, changing nothing")
		},
	}
}
