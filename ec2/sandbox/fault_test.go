package sandbox_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

// inMemory opens a files-only sandbox without a socket, for synctest.
func inMemory(t *testing.T, cfg sandbox.Config) *rig {
	t.Helper()
	cfg.FilesOnly = true
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "sandbox")
	}
	w, err := sandbox.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	id, err := w.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	c := client("http://sandbox.invalid", func(o *ec2.Options) { o.HTTPClient = inProcess(w) })
	return &rig{t, w, c, id, ""}
}

func inProcess(w *sandbox.Sandbox) *http.Client { return &http.Client{Transport: w.RoundTripper()} }

func (w *rig) dir() string { return filepath.Dir(w.Roots().Dev) }

func (w *rig) count() int {
	w.Helper()
	out, err := w.c.DescribeVolumes(w.Context(), nil)
	if err != nil {
		w.Fatal(err)
	}
	return len(out.Volumes) - 1 // the root volume
}

func (w *rig) create() error {
	_, err := w.c.CreateVolume(w.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1)})
	return err
}

func TestStatesTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Create: 2 * time.Second, Attach: 2 * time.Second, Snapshot: 10 * time.Second, Detach: time.Second}})
		volume := w.volume(1)
		if v := w.describe(volume); v.State != types.VolumeStateCreating {
			t.Errorf("at once: %s", v.State)
		}
		_, err := w.c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &w.instance, Device: aws.String("/dev/sdf")})
		if errorCode(err) != "IncorrectState" {
			t.Errorf("attaching what is being created: %v", err)
		}
		time.Sleep(2 * time.Second)
		if v := w.describe(volume); v.State != types.VolumeStateAvailable {
			t.Errorf("after 2 s: %s", v.State)
		}
		w.attach(volume, "/dev/sdf")
		if v := w.describe(volume); v.Attachments[0].State != types.VolumeAttachmentStateAttaching {
			t.Errorf("at once: %s", v.Attachments[0].State)
		}
		time.Sleep(2 * time.Second)
		if v := w.describe(volume); v.Attachments[0].State != types.VolumeAttachmentStateAttached {
			t.Errorf("after 2 s: %s", v.Attachments[0].State)
		}
		snapshot := w.snapshot(volume)
		for _, want := range []string{"0% pending", "40% pending", "80% pending", "100% completed"} {
			out, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}})
			if err != nil {
				t.Fatal(err)
			}
			if s := out.Snapshots[0]; *s.Progress+" "+string(s.State) != want {
				t.Errorf("%s %s, want %s", *s.Progress, s.State, want)
			}
			time.Sleep(4 * time.Second)
		}
		if w.detach(volume); w.describe(volume).Attachments[0].State != types.VolumeAttachmentStateDetaching {
			t.Error("not detaching")
		}
		time.Sleep(time.Second)
		if v := w.describe(volume); v.State != types.VolumeStateAvailable {
			t.Errorf("after the detach: %s", v.State)
		}
	})
}

func TestDescribesLagBehindCreates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Lag: 3 * time.Second}})
		volume := w.volume(1)
		snapshot := w.snapshot(volume, tag("token", "x"))
		byID := func() error {
			_, err := w.c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{volume}})
			return err
		}
		byTag := func() int {
			out, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:token", "x")}})
			if err != nil {
				t.Fatal(err)
			}
			return len(out.Snapshots)
		}
		if err := byID(); errorCode(err) != "InvalidVolume.NotFound" || byTag() != 0 || w.count() != 0 {
			t.Errorf("seen at once: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := byID(); err != nil || byTag() != 1 || w.count() != 1 {
			t.Errorf("not seen after the lag: %v", err)
		}
		_, err := w.c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{snapshot}, Tags: []types.Tag{tag("token", "y")}})
		if err != nil || byTag() != 1 {
			t.Errorf("%v, or a changed tag is seen at once", err)
		}
		time.Sleep(3 * time.Second)
		if byTag() != 0 {
			t.Error("the old tag is seen after the lag")
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{})
		reset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
		code := func(want string) func(error) bool { return func(err error) bool { return errorCode(err) == want } }
		fine := func(err error) bool { return err == nil }
		made := 0
		for _, test := range []struct {
			name  string
			fault sandbox.Fault
			calls []func(error) bool // what each call must bring
			made  int                // volumes that they make
			takes time.Duration
		}{
			{"an error", sandbox.Fault{Action: "CreateVolume", Error: "VolumeLimitExceeded"}, []func(error) bool{code("VolumeLimitExceeded")}, 0, 0},
			{"a refused action", sandbox.Fault{Action: "Create*", Error: "UnauthorizedOperation"}, []func(error) bool{code("UnauthorizedOperation")}, 0, 0},
			{"another action's", sandbox.Fault{Action: "DeleteVolume", Error: "X"}, []func(error) bool{fine}, 1, 0},
			{"other parameters'", sandbox.Fault{Params: map[string]string{"Size": "2*"}, Error: "X"}, []func(error) bool{fine}, 1, 0},
			{"the second call", sandbox.Fault{Action: "CreateVolume", Nth: 2, Status: 500}, []func(error) bool{fine, code("InternalError"), fine}, 2, 0},
			{"each second call", sandbox.Fault{Action: "CreateVolume", Every: 2, Status: 500}, []func(error) bool{fine, code("InternalError"), fine, code("InternalError")}, 2, 0},
			{"two calls", sandbox.Fault{Action: "CreateVolume", Count: 2, Error: "Unavailable"}, []func(error) bool{code("Unavailable"), code("Unavailable"), fine}, 1, 0},
			{"reset before", sandbox.Fault{Action: "CreateVolume", Reset: "before"}, []func(error) bool{reset}, 0, 0},
			{"reset after", sandbox.Fault{Action: "CreateVolume", Reset: "after"}, []func(error) bool{reset}, 1, 0},
			{"latency", sandbox.Fault{Action: "CreateVolume", Latency: 3 * time.Second}, []func(error) bool{fine}, 1, 3 * time.Second},
			{"hang before", sandbox.Fault{Action: "CreateVolume", Hang: time.Minute}, []func(error) bool{fine}, 1, time.Minute},
			{"hang after", sandbox.Fault{Action: "CreateVolume", Hang: time.Minute, When: "after"}, []func(error) bool{fine}, 1, time.Minute},
			{"throttling", sandbox.Fault{Action: "CreateVolume", Rate: 1, Burst: 2}, []func(error) bool{fine, fine, code("RequestLimitExceeded"), code("RequestLimitExceeded")}, 2, 0},
		} {
			if err := sandbox.SetFaults(w.dir(), sandbox.Latency{}, test.fault); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for i, good := range test.calls {
				if err := w.create(); !good(err) {
					t.Errorf("%s: call %d: %v", test.name, i+1, err)
				}
			}
			if took := time.Since(began); took != test.takes {
				t.Errorf("%s: took %v, want %v", test.name, took, test.takes)
			}
			if err := sandbox.SetFaults(w.dir(), sandbox.Latency{}); err != nil {
				t.Fatal(err)
			}
			if made += test.made; w.count() != made {
				t.Fatalf("%s: %d volumes, want %d", test.name, w.count(), made)
			}
		}
	})
}

func TestThrottlingRefillsItsBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Faults: []sandbox.Fault{{Action: "CreateVolume", Rate: 0.5, Burst: 1}}})
		if err := w.create(); err != nil {
			t.Fatal(err)
		}
		if err := w.create(); errorCode(err) != "RequestLimitExceeded" {
			t.Errorf("an empty bucket: %v", err)
		}
		time.Sleep(2 * time.Second)
		for _, want := range []string{"DryRunOperation", "RequestLimitExceeded"} { // EC2 does not say that it does not count dry runs
			_, err := w.c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{DryRun: aws.Bool(true), AvailabilityZone: aws.String("eu-west-1a"), Size: aws.Int32(1)})
			if errorCode(err) != want {
				t.Errorf("a dry run: %v, want %s", err, want)
			}
		}
		time.Sleep(2 * time.Second)
		if err := w.create(); err != nil {
			t.Errorf("a refilled bucket: %v", err)
		}
	})
}

func TestAProbabilityIsTheSameEachTime(t *testing.T) {
	outcome := func() (pattern string) {
		w := inMemory(t, sandbox.Config{Faults: []sandbox.Fault{{Action: "CreateVolume", Probability: 0.5, Seed: 7, Error: "Unavailable"}}})
		for range 20 {
			if w.create() == nil {
				pattern += "."
			} else {
				pattern += "x"
			}
		}
		return pattern
	}
	first := outcome()
	if second := outcome(); first != second || strings.Count(first, ".") < 4 || strings.Count(first, "x") < 4 {
		t.Errorf("%s then %s", first, second)
	}
}

func TestFaultsPutResourcesIntoErrorStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Snapshot: 10 * time.Second}, Faults: []sandbox.Fault{
			{Action: "CreateVolume", Params: map[string]string{"KmsKeyId": "*bad*"}, Effect: "vanish", After: 5 * time.Second},
			{Action: "AttachVolume", Params: map[string]string{"Device": "/dev/sds"}, Effect: "stuck"},
			{Action: "CreateSnapshot", Params: map[string]string{"Description": "fails"}, Effect: "error", At: 40},
		}})
		ghost := w.volume(1, func(in *ec2.CreateVolumeInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String("bad-key") })
		if v := w.describe(ghost); v.State != types.VolumeStateCreating {
			t.Errorf("the ghost is %s", v.State)
		}
		stuck := w.volume(1)
		w.attach(stuck, "/dev/sds")
		out, err := w.c.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: &stuck, Description: aws.String("fails")})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := w.c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{ghost}}); errorCode(err) != "InvalidVolume.NotFound" {
			t.Errorf("the ghost: %v", err)
		}
		if v := w.describe(stuck); v.Attachments[0].State != types.VolumeAttachmentStateAttaching {
			t.Errorf("the stuck one: %s", v.Attachments[0].State)
		}
		w.detach(stuck)
		if v := w.describe(stuck); v.State != types.VolumeStateAvailable {
			t.Errorf("the stuck one, detached: %s", v.State)
		}
		snapshots, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*out.SnapshotId}})
		if err != nil {
			t.Fatal(err)
		}
		if s := snapshots.Snapshots[0]; s.State != types.SnapshotStateError || *s.Progress != "40%" {
			t.Errorf("the failing snapshot: %s at %s", s.State, *s.Progress)
		}
	})
}

func TestOverHTTPAResetIsAReset(t *testing.T) {
	w := filesOnly(t, sandbox.Config{Faults: []sandbox.Fault{{Action: "CreateVolume", Nth: 1, Reset: "after"}, {Action: "DeleteVolume", Hang: time.Hour}}})
	if err := w.create(); !errors.Is(err, syscall.ECONNRESET) || w.count() != 1 {
		t.Errorf("%v, %d volumes", err, w.count())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.c.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(w.volume(1))}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging call: %v", err)
	}
	if w.count() != 2 {
		t.Errorf("%d volumes: the call that was given up had an effect", w.count())
	}
	calls, err := sandbox.Log(w.dir())
	if err != nil {
		t.Fatal(err)
	}
	var lost, found bool
	for _, call := range calls {
		lost = lost || call.Action == "CreateVolume" && call.Result == "ok" && call.Lost && call.Params["Size"] == "1"
		found = found || call.Action == "DescribeVolumes" && call.Result == "ok" && call.Millis >= 0
	}
	if !lost || !found {
		t.Errorf("the log lacks calls: %+v", calls)
	}
}
