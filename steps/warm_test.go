package steps

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/plan"
)

func TestFullSpeed(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name string
		v    ec2.Volume
		want string
	}{
		{"from a snapshot", ec2.Volume{SnapshotID: "snap-1", Size: 100, Created: ago(time.Hour)}, ""},
		{"created empty", ec2.Volume{Size: 100}, "it was created empty"},
		{"fast snapshot restore", ec2.Volume{SnapshotID: "snap-1", FastRestored: true}, "it was created with fast snapshot restore"},
		{"being initialized", ec2.Volume{SnapshotID: "snap-1", Size: 100, InitializationRate: 100, Created: ago(17 * time.Minute)}, ""}, // 1,024 s
		{"initialized", ec2.Volume{SnapshotID: "snap-1", Size: 100, InitializationRate: 100, Created: ago(18 * time.Minute)}, "EC2 has initialized it at 100 MiB/s"},
	} {
		if got := fullSpeed(c.v, now); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// warming is the step on a volume of a fake machine; read is what the machine does.
type warming struct {
	env    *Env
	read   func(ctx context.Context, q linux.WarmRequest) (linux.Warmed, error)
	asked  []linux.WarmRequest
	marks  []string
	shown  []plan.Progress
	volume ec2.Volume
	host   *fakeHost
}

func newWarming() *warming {
	x := &warming{volume: ec2.Volume{ID: "vol-1", SnapshotID: "snap-1", Size: 8}}
	x.host = &fakeHost{mounts: map[string]linux.Device{"/mnt/a": {Path: "/dev/nvme1n1", VolumeID: "vol-1"}}, warm: func(ctx context.Context, q linux.WarmRequest) (linux.Warmed, error) {
		x.asked = append(x.asked, q)
		return x.read(ctx, q)
	}}
	x.env = &Env{Cloud: &fakeCloud{volume: func(string) (ec2.Volume, error) { return x.volume, nil }}, Host: x.host, Instance: Instance{ID: "i-1"}}
	return x
}

func (x *warming) do(t *testing.T, ctx context.Context, mark string) (Warmed, error) {
	t.Helper()
	h := Handlers(x.env)[Warm.Kind]
	in := WarmIn{VolumeRef: VolumeRef{Found: plan.Literal(FoundVolume{Found: true, VolumeID: "vol-1"})}, MountPoint: "/mnt/a", First: []string{"wal/**"}, Rate: 3}
	out, err := h.Do(ctx, plan.Attempt{Mark: json.RawMessage(mark), Report: func(p plan.Progress) { x.shown = append(x.shown, p) },
		Checkpoint: func(m json.RawMessage) { x.marks = append(x.marks, string(m)) }}, asJSON(t, in))
	if err != nil {
		return Warmed{}, err
	}
	return decoded[Warmed](t, out.Value), nil
}

func TestWarmKeepsItsMarkAndGoesOnThere(t *testing.T) {
	x := newWarming()
	x.read = func(_ context.Context, q linux.WarmRequest) (linux.Warmed, error) {
		for i := range int64(1000) { // ten of them are a percent
			q.Progress(linux.WarmProgress{WarmMark: linux.WarmMark{Priority: 1, Offset: i << 20, Read: i << 20}, Done: i << 20, InUse: 1000 << 20, Rate: 50 << 20})
		}
		return linux.Warmed{InUse: 1000 << 20, Read: 999 << 20}, errors.New("input/output error")
	}
	_, err := x.do(t, t.Context(), "")
	if err == nil || !strings.Contains(plan.HintOf(err), "dmesg") {
		t.Errorf("an I/O error is %v (%s)", err, plan.HintOf(err))
	}
	if len(x.marks) != 100 || x.shown[500].Percent != 50 || x.shown[500].Text != "500.0 MiB of 1000.0 MiB, 50.0 MiB/s, 10 s left" {
		t.Errorf("%d marks, and in the middle %+v", len(x.marks), x.shown[500])
	}
	if q := x.asked[0]; q.Device != "/dev/nvme1n1" || q.Rate != 3<<20 || q.From != (linux.WarmMark{}) || len(q.Globs) != 1 {
		t.Errorf("asked for %+v", q)
	}
	x.read = func(context.Context, linux.WarmRequest) (linux.Warmed, error) {
		return linux.Warmed{InUse: 1000 << 20, Read: 1010 << 20}, nil
	}
	last := x.marks[len(x.marks)-1]
	out, err := x.do(t, t.Context(), last)
	if err != nil || out.Percent != 100 || out.ReadBytes != 1010<<20 || x.asked[1].From != (linux.WarmMark{Priority: 1, Offset: 990 << 20, Read: 990 << 20}) {
		t.Errorf("%+v, %v after %+v", out, err, x.asked[1].From)
	}
	if _, err := x.do(t, t.Context(), strings.Replace(last, "vol-1", "vol-2", 1)); err != nil || x.asked[2].From != (linux.WarmMark{}) {
		t.Errorf("the mark of another volume: %+v, %v", x.asked[2].From, err)
	}
}

func TestWarmGivesWay(t *testing.T) {
	x := newWarming()
	way := make(chan struct{})
	x.env.GiveWay = way
	x.read = func(ctx context.Context, q linux.WarmRequest) (linux.Warmed, error) {
		q.Progress(linux.WarmProgress{WarmMark: linux.WarmMark{Read: 40}, Done: 40, InUse: 100})
		close(way)
		<-ctx.Done()
		return linux.Warmed{InUse: 100, Read: 40}, context.Cause(ctx)
	}
	out, err := x.do(t, t.Context(), "")
	if err != nil || out.Stopped == "" || out.Percent != 40 || !strings.Contains(out.String(), "stopped at 40 %") {
		t.Errorf("%+v, %v", out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	x.env.GiveWay = nil
	x.read = func(ctx context.Context, _ linux.WarmRequest) (linux.Warmed, error) {
		cancel()
		<-ctx.Done()
		return linux.Warmed{}, context.Cause(ctx)
	}
	if _, err := x.do(t, ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that is stopped: %v", err)
	}
}

func TestWarmSkipsAndRefuses(t *testing.T) {
	x := newWarming()
	x.volume.FastRestored = true
	if out, err := x.do(t, t.Context(), ""); err != nil || out.Skipped == "" || out.Percent != 100 || len(x.asked) != 0 {
		t.Errorf("at full speed: %+v, %v", out, err)
	}
	x.volume.FastRestored = false
	x.read = func(context.Context, linux.WarmRequest) (linux.Warmed, error) {
		return linux.Warmed{}, linux.ErrCannotWarm
	}
	if out, err := x.do(t, t.Context(), ""); err != nil || !strings.Contains(out.Skipped, "FIEMAP") || out.Percent != 0 {
		t.Errorf("without FIEMAP: %+v, %v", out, err)
	}
	x.host.mounts["/mnt/a"] = linux.Device{Path: "/dev/nvme2n1", VolumeID: "vol-2"}
	if _, err := x.do(t, t.Context(), ""); err == nil || !strings.Contains(err.Error(), "vol-2 is mounted there now") {
		t.Errorf("another volume: %v", err)
	}
	delete(x.host.mounts, "/mnt/a")
	if _, err := x.do(t, t.Context(), ""); !errors.Is(err, linux.ErrNotMountPoint) {
		t.Errorf("not mounted: %v", err)
	}
	x.host.mounts["/mnt/a"] = linux.Device{Path: "/dev/nvme1n1", VolumeID: "vol-1"}
	x.env.PreviewOnly, x.asked = true, nil
	h := Handlers(x.env)[Warm.Kind]
	out, err := h.Do(t.Context(), plan.Attempt{Report: func(plan.Progress) {}}, asJSON(t, WarmIn{VolumeRef: VolumeRef{Found: plan.Literal(FoundVolume{Found: true, VolumeID: "vol-1"})},
		MountPoint: "/mnt/a", First: []string{"wal/**", "base/**"}, Rate: 50}))
	if want := "read what is in use, first wal/**, then base/**, at most 50 MiB/s"; err != nil || out.Text() != want || len(x.asked) != 0 {
		t.Errorf("a plan says %q, want %q; %v", out.Text(), want, err)
	}
}
