package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// Warm reads what is in use of a mounted volume once, so that EC2 fetches it from the snapshot now and not when it is needed. It
// changes nothing, and its mark in the journal says how far it is.
var Warm = plan.Def[WarmIn, Warmed]{Kind: "warm", Scope: plan.Cloud, ReadOnly: true}

// WarmIn names the volume, and what of it is needed first.
type WarmIn struct {
	VolumeRef
	MountPoint string   `json:"mount_point"`
	First      []string `json:"first,omitempty"` // globs below the mount point
	Rate       int32    `json:"rate,omitempty"`  // MiB/s; 0 for no limit
}

// Warmed is what became of it.
type Warmed struct {
	VolumeID   string `json:"volume_id"`
	MountPoint string `json:"mount_point"`
	plan.Warming
	Empty   []string `json:"empty,omitempty"` // globs that no data matches
	Planned string   `json:"-"`               // of a plan: what would be read
}

// Facts are the volume and what was read of it.
func (o Warmed) Facts() plan.Facts {
	return plan.Facts{VolumeID: o.VolumeID, MountPoint: o.MountPoint, Warming: &o.Warming, Remarks: append([]string{o.String()}, o.unmatched()...)}
}

// unmatched names the globs that are no use; nil for none.
func (o Warmed) unmatched() []string {
	if len(o.Empty) == 0 {
		return nil
	}
	return []string{"no data on it matches " + strings.Join(o.Empty, " and ") + ": check `warm` in the settings"}
}

// String says it.
func (o Warmed) String() string {
	switch {
	case o.Skipped != "":
		return "not read: " + o.Skipped
	case o.Stopped != "":
		return fmt.Sprintf("stopped at %d %%: %s", o.Percent, o.Stopped)
	case o.Planned != "":
		return o.Planned
	}
	return fmt.Sprintf("read %s of %s in use in %s (%s/s)", amount(o.ReadBytes), amount(o.InUseBytes), units.Took(seconds(o.Seconds)), amount(int64(o.BytesPerSecond)))
}

// warmMark is how far a volume is, as the journal keeps it.
type warmMark struct {
	VolumeID string `json:"volume_id"`
	linux.WarmMark
	Seconds float64 `json:"seconds"`
}

// ReadWhole is the run that has read all of a volume, as a step of a run says it; "" where it does not.
func ReadWhole(run plan.RunID, f *plan.Facts, volumeID string) plan.RunID {
	switch {
	case f == nil || f.VolumeID != volumeID || f.Warming == nil:
		return ""
	case f.Warming.Skipped == "" && f.Warming.Stopped == "" && f.Warming.Percent == 100:
		return run
	}
	return f.Warming.ReadBy
}

// errGiveWay: the volume is wanted for something else.
var errGiveWay = errors.New("another run unmounts it")

func (w *Env) warm() plan.Funcs[WarmIn, Warmed] {
	return plan.Funcs[WarmIn, Warmed]{
		Do: func(ctx context.Context, a plan.Attempt, in WarmIn) (Warmed, error) {
			out := Warmed{VolumeID: in.id(), MountPoint: in.MountPoint}
			v, err := w.Cloud.Volume(ctx, out.VolumeID)
			if err != nil {
				return out, errorAction(err)
			}
			if out.Skipped = fullSpeed(v, w.Cloud.Now()); out.Skipped == "" && w.ReadBy != nil {
				if out.ReadBy = w.ReadBy(out.VolumeID); out.ReadBy != "" {
					out.Skipped = "run " + string(out.ReadBy) + " has read it"
				}
			}
			if out.Skipped != "" {
				out.Percent = 100
				return out, nil
			}
			d, m, err := w.Host.VolumeOf(in.MountPoint)
			if err != nil {
				return out, plan.Terminal("mount it first with `snaptastic run mount`", fmt.Errorf("cannot warm %s: %w", in.MountPoint, err))
			}
			if d.VolumeID != "" && d.VolumeID != out.VolumeID {
				return out, plan.Terminal("run it again", fmt.Errorf("cannot warm %s: %s is mounted there now, and not %s", in.MountPoint, d.VolumeID, out.VolumeID))
			}
			q := linux.WarmRequest{Target: m.Target, Device: d.Path, FileSystem: m.FileSystem, Globs: in.First, Rate: int64(in.Rate) << 20}
			if d.Mounted != nil {
				q.Device = d.Mounted.Path
			}
			if w.PreviewOnly {
				out.Planned = in.plan()
				return out, nil
			}
			return w.readOnce(ctx, a, q, out)
		},
		Preview: func(in WarmIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewRead, "%s", in.plan())
		},
	}
}

// plan says what would be read.
func (in WarmIn) plan() string {
	text := "read what is in use"
	if len(in.First) > 0 {
		text += ", first " + strings.Join(in.First, ", then ")
	}
	if in.Rate > 0 {
		text += fmt.Sprintf(", at most %d MiB/s", in.Rate)
	}
	return text
}

// readOnce reads from where an earlier try of the same volume stopped. Who wants the volume ends it, and that is no failure.
func (w *Env) readOnce(ctx context.Context, a plan.Attempt, q linux.WarmRequest, out Warmed) (Warmed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-w.GiveWay:
			cancel(errGiveWay)
		case <-ctx.Done():
		}
	}()
	var mark warmMark
	if json.Unmarshal(a.Mark, &mark) != nil || mark.VolumeID != out.VolumeID {
		mark = warmMark{VolumeID: out.VolumeID}
	}
	q.From = mark.WarmMark
	began, before, percent := time.Now(), mark.Seconds, -1
	q.Progress = func(p linux.WarmProgress) {
		mark.WarmMark, mark.Seconds = p.WarmMark, before+time.Since(began).Seconds()
		now := percentOf(p.Done, p.InUse)
		a.Report(plan.Progress{Percent: now, Text: progressOf(p)})
		if now != percent || ctx.Err() != nil {
			percent = now
			raw, _ := json.Marshal(mark) // of words and numbers it cannot fail
			a.Checkpoint(raw)
		}
	}
	got, err := w.Host.Warm(ctx, q)
	out.Empty = got.Empty
	out.InUseBytes, out.ReadBytes, out.Seconds, out.Percent = got.InUse, got.Read, before+time.Since(began).Seconds(), 100
	if out.Seconds > 0 {
		out.BytesPerSecond = float64(got.Read) / out.Seconds
	}
	switch {
	case errors.Is(err, errGiveWay):
		out.Percent, out.Stopped = max(percent, 0), errGiveWay.Error()
		return out, nil
	case errors.Is(err, linux.ErrCannotWarm):
		out.Warming = plan.Warming{Percent: 0, Skipped: q.FileSystem + " does not say where its files are (FIEMAP)"}
		return out, nil
	case err != nil && ctx.Err() == nil:
		return out, plan.Terminal("check `dmesg` for I/O errors; run it again to continue where it stopped", err)
	}
	return out, err
}

// fullSpeed says why a volume has nothing that EC2 still has to fetch; "" where it may have. EC2 fetches at an initialization rate from the
// moment a volume is created, the whole of it at most.
// https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
func fullSpeed(v ec2.Volume, now time.Time) string {
	switch {
	case v.SnapshotID == "":
		return "it was created empty"
	case v.FastRestored:
		return "it was created with fast snapshot restore"
	case v.InitializationRate > 0:
		whole := time.Duration(v.Size) * 1024 * time.Second / time.Duration(v.InitializationRate)
		if now.After(v.Created.Add(whole)) {
			return fmt.Sprintf("EC2 has initialized it at %d MiB/s", v.InitializationRate)
		}
	}
	return ""
}

func percentOf(done, all int64) int {
	if all <= 0 {
		return 0
	}
	return int(min(done, all) * 100 / all)
}

// progressOf says how far a reading is, and how long it will still take at the rate so far.
func progressOf(p linux.WarmProgress) string {
	text := fmt.Sprintf("%s of %s, %s/s", amount(p.Done), amount(p.InUse), amount(int64(p.Rate)))
	if left := p.InUse - p.Done; p.Rate >= 1 && left > 0 {
		text += fmt.Sprintf(", %s left", units.Took(seconds(float64(left)/p.Rate).Round(time.Second)))
	}
	return text
}

// amount is a number of bytes for people.
func amount(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
