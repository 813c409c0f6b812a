package steps

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/plan"
)

func at(v ec2.Volume, state string) ec2.Volume {
	v.Attachments = slices.Clone(v.Attachments)
	v.Attachments[0].State = ebs.AttachmentState(state)
	return v
}

func TestWhatBecomesOfAnAttach(t *testing.T) {
	ours := onInstance("vol-1", "/dev/sdf", nil)
	elsewhere := onInstance("vol-1", "/dev/sdf", nil)
	elsewhere.Attachments[0].InstanceID = "i-2"
	inUse := &ec2.Fault{Class: ec2.InUse, Code: "VolumeInUse", Doing: "attach vol-1", Message: "vol-1 is already attached"}
	taken := &ec2.Fault{Class: ec2.InUse, Code: "InvalidParameterValue", Doing: "attach vol-1", Message: "/dev/sdf is already in use"}
	cases := []struct {
		name     string
		answer   error
		volume   ec2.Volume
		attached []ec2.Volume
		want     plan.Action // "" for success
		message  string
	}{
		{"attached", nil, ours, nil, "", ""},
		{"an answer was lost: it is ours already", inUse, ours, nil, "", ""},
		{"attached elsewhere", inUse, elsewhere, nil, plan.ActTerminal, "already attached"},
		{"the name is taken", taken, ec2.Volume{ID: "vol-1", State: "available"}, []ec2.Volume{onInstance("vol-9", "/dev/xvdf", nil)}, plan.ActTerminal, "the device name is in use by vol-9"},
		{"not visible yet", &ec2.Fault{Class: ec2.NotFound}, ours, nil, plan.ActRetry, ""},
		{"still creating", &ec2.Fault{Class: ec2.SettleLater}, ours, nil, plan.ActRetry, ""},
		{"too many", &ec2.Fault{Class: ec2.Limit}, ours, nil, plan.ActTerminal, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cloud := &fakeCloud{attached: c.attached, attach: func(string, string) error { return c.answer }, volume: func(string) (ec2.Volume, error) { return c.volume, nil }}
			w := &Env{Cloud: cloud, Instance: Instance{ID: "i-1"}}
			out, err := w.attach().Do(t.Context(), attempt("attach"), AttachIn{Volume: plan.Literal(Volume{VolumeID: "vol-1"}), Device: "/dev/sdf", Patience: plan.Duration(time.Second)})
			if c.want == "" {
				if err != nil || out.Device != "/dev/sdf" {
					t.Errorf("%+v, %v", out, err)
				}
				return
			}
			if err == nil || plan.ActionOf(err).Action != c.want || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%v, want %s that says %q", err, c.want, c.message)
			}
		})
	}
}

func TestAVolumeThatStaysAttachingIsTakenOffAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &fakeCloud{attach: func(string, string) error { return nil },
			volume: func(string) (ec2.Volume, error) { return at(onInstance("vol-1", "/dev/sdf", nil), "attaching"), nil }}
		w := &Env{Cloud: cloud, Instance: Instance{ID: "i-1"}}
		began := time.Now()
		_, err := w.attach().Do(t.Context(), attempt("attach"), AttachIn{Volume: plan.Literal(Volume{VolumeID: "vol-1"}), Device: "/dev/sdf", Patience: plan.Duration(90 * time.Second)})
		if v := plan.ActionOf(err); v.Action != plan.ActTerminal || plan.HintOf(err) == "" || !strings.Contains(err.Error(), "still in state attaching after 1 min 30 s; it is being detached") {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 90*time.Second || !slices.Contains(cloud.calls, "DetachVolume vol-1") {
			t.Errorf("after %s: %v", took, cloud.calls)
		}
	})
}

func TestObserveAttachment(t *testing.T) {
	ours := onInstance("vol-1", "/dev/sdf", nil)
	elsewhere := onInstance("vol-1", "/dev/sdf", nil)
	elsewhere.Attachments[0].InstanceID = "i-2"
	cases := []struct {
		name   string
		volume ec2.Volume
		err    error
		state  plan.ObservedState // "" for another look
	}{
		{"attached", ours, nil, plan.Satisfied},
		{"attaching", at(ours, "attaching"), nil, plan.Satisfied},
		{"under another spelling", onInstance("vol-1", "/dev/xvdf", nil), nil, plan.Satisfied},
		{"under another name", onInstance("vol-1", "/dev/sdg", nil), nil, plan.Conflict},
		{"on another instance", elsewhere, nil, plan.Conflict},
		{"available", ec2.Volume{ID: "vol-1", State: "available"}, nil, plan.Absent},
		{"detached, and still listed", at(ours, "detached"), nil, plan.Absent},
		{"being detached", at(ours, "detaching"), nil, ""},
		{"gone", ec2.Volume{}, &ec2.Fault{Class: ec2.NotFound}, plan.Absent},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := &Env{Cloud: &fakeCloud{volume: func(string) (ec2.Volume, error) { return c.volume, c.err }}, Instance: Instance{ID: "i-1"}}
			seen, err := w.attach().Observe(t.Context(), attempt("attach"), AttachIn{Volume: plan.Literal(Volume{VolumeID: "vol-1"}), Device: "/dev/sdf"})
			if seen.State != c.state || (c.state == "") != (plan.ActionOf(err).Action == plan.ActRetry && err != nil) {
				t.Errorf("saw %q, %v; want %q", seen.State, err, c.state)
			}
		})
	}
}
