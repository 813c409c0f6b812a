package ec2

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachErrorCodeHasItsClassAndItsHint(t *testing.T) {
	deed := map[string]func(context.Context, *Client) error{
		"CreateVolume": func(ctx context.Context, c *Client) error {
			_, err := c.CreateVolume(ctx, CreateVolumeRequest{ClientToken: "t", Zone: "eu-west-1a", Size: 5})
			return err
		},
		"AttachVolume": func(ctx context.Context, c *Client) error {
			_, err := c.AttachVolume(ctx, "vol-1", "i-1", "/dev/sdf")
			return err
		},
		"CreateSnapshot": func(ctx context.Context, c *Client) error {
			_, err := c.CreateSnapshot(ctx, CreateSnapshotRequest{VolumeID: "vol-1"})
			return err
		},
		"DescribeVolumes": func(ctx context.Context, c *Client) error { _, err := c.AttachedVolumes(ctx, "i-1"); return err },
		"DeleteSnapshot":  func(ctx context.Context, c *Client) error { return c.DeleteSnapshot(ctx, "snap-1") },
	}
	for _, test := range []struct {
		op      string
		status  int
		code    string
		message string
		class   Class
		hint    string // part of it
	}{
		{"CreateVolume", 500, "InternalError", "An internal error has occurred", Transient, ""},
		{"CreateVolume", 503, "ServiceUnavailable", "", Transient, ""},
		{"CreateVolume", 503, "Unavailable", "", Transient, ""},
		{"CreateVolume", 400, "VolumeLimitExceeded", "Maximum number of volumes exceeded.", Limit, "Service Quotas"},
		{"CreateVolume", 400, "MaxIOPSLimitExceeded", "", Limit, "IOPS"},
		{"CreateVolume", 400, "SomethingNewLimitExceeded", "", Limit, "Service Quotas"},
		{"CreateVolume", 500, "InsufficientVolumeCapacity", "", Limit, "volume_type"},
		{"CreateVolume", 400, "IdempotentParameterMismatch", "", Invalid, "token"},
		{"CreateVolume", 403, "UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: AbCd", Denied, "ec2:CreateVolume (and ec2:CreateTags"},
		{"CreateVolume", 403, "UnauthorizedOperation", "User: arn:aws:sts::1:assumed-role/r/i is not authorized to perform: ec2:CreateTags on resource: x because no identity-based policy allows the ec2:CreateTags action", Denied, "allow ec2:CreateTags in"},
		{"AttachVolume", 400, "AttachmentLimitExceeded", "", Limit, "instance type"},
		{"AttachVolume", 400, "InvalidVolume.ZoneMismatch", "", Invalid, "availability zone"},
		{"AttachVolume", 400, "VolumeInUse", "vol-1 is already attached to an instance", InUse, "already attached"},
		{"AttachVolume", 400, "InvalidParameterValue", "Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use", InUse, "another volume has this device name"},
		{"AttachVolume", 400, "InvalidParameterValue", "Value (/dev/zz) for parameter device is invalid", Invalid, ""},
		{"AttachVolume", 400, "IncorrectState", "vol-1 is not 'available'.", SettleLater, ""},
		{"AttachVolume", 400, "InvalidVolume.NotFound", "The volume 'vol-1' does not exist.", NotFound, ""},
		{"AttachVolume", 400, "InvalidVolumeID.Malformed", "", Invalid, ""},
		{"CreateSnapshot", 500, "InternalError", "", Ambiguous, "check what it may have created"},
		{"CreateSnapshot", 503, "RequestLimitExceeded", "Request limit exceeded.", Throttled, ""},
		{"CreateSnapshot", 400, "SnapshotCreationPerVolumeRateExceeded", "", RateExceeded, "15 seconds"},
		{"CreateSnapshot", 400, "SnapshotLimitExceeded", "", Limit, "Snapshots per Region"},
		{"CreateSnapshot", 400, "ConcurrentSnapshotLimitExceeded", "", RateExceeded, "pending snapshots"},
		{"DescribeVolumes", 401, "AuthFailure", "AWS was not able to validate the provided access credentials", Denied, "clock"},
		{"DescribeVolumes", 400, "RequestExpired", "", Denied, "clock"},
		{"DeleteSnapshot", 400, "InvalidSnapshot.InUse", "The snapshot snap-1 is currently in use by ami-1", InUse, "deregister"},
		{"DeleteSnapshot", 400, "Client.InvalidSnapshot.NotFound", "", NotFound, ""},
	} {
		t.Run(test.op+" "+test.code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := always(errorAnswer(test.status, test.code, test.message)).client(t)
				fault := wantFault(t, deed[test.op](t.Context(), client), test.class)
				if fault.Code != strings.TrimPrefix(test.code, "Client.") || fault.RequestID != "req-1" || fault.Op != test.op {
					t.Errorf("code %q, request %q, op %q", fault.Code, fault.RequestID, fault.Op)
				}
				if !strings.Contains(fault.hint, test.hint) || test.hint == "" && fault.hint != "" {
					t.Errorf("hint %q lacks %q", fault.hint, test.hint)
				}
				if strings.Contains(fault.Error(), "Encoded") {
					t.Errorf("the encoded message is of no use to a reader: %v", fault)
				}
			})
		})
	}
}

func TestAFaultReadsAsASentence(t *testing.T) {
	client := always(errorAnswer(400, "InvalidVolume.ZoneMismatch", "The volume 'vol-1' is not in the same availability zone as instance 'i-1'.")).client(t)
	_, err := client.AttachVolume(t.Context(), "vol-1", "i-1", "/dev/sdf")
	const want = "cannot attach vol-1 to i-1 as /dev/sdf: The volume 'vol-1' is not in the same availability zone as instance 'i-1' (InvalidVolume.ZoneMismatch)"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := Classify("ModifyInstanceAttribute", errors.New("odd")).Error(); got != "cannot modify instance attribute: odd" {
		t.Errorf("an unnamed deed reads %q", got)
	}
	if Classify("X", nil) != nil || ClassOf(errors.New("x")) != 0 || Class(99).String() != "unknown" {
		t.Error("nothing must stay nothing")
	}
}

// What is not EC2's answer, and what is no answer, for a call that may be repeated and for one that may not.
func TestUnexpectedResponsesAreClassified(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connect: connection refused")}
	for _, test := range []struct {
		name         string
		answer       answer
		read, create Class
		reads        int // requests that a describe makes
		message      string
	}{
		{"HTML from a proxy, 502", answer{status: 502, body: "<html><body>Bad Gateway</body></html>"}, Transient, Ambiguous, 5, "HTTP 502"},
		{"HTML from a proxy, 403", answer{status: 403, body: "<html><body>Forbidden<br></body></html>"}, Invalid, Invalid, 1, "HTTP 403"},
		{"HTML that is a success", answer{body: "<html><body>Please log in<br></body></html>"}, Transient, Ambiguous, 5, "not with an EC2 response"},
		{"an empty success", answer{}, Transient, Ambiguous, 5, "not with an EC2 response"},
		{"half an answer", answer{body: volumesAnswer("", Volume{ID: "vol-1"}).body[:150]}, Transient, Ambiguous, 5, "truncated"},
		{"the answer to another question", createdAnswer("vol-1"), Transient, Ambiguous, 5, "not with an EC2 response"},
		{"JSON", answer{body: `{"volumes":[]}`}, Transient, Ambiguous, 5, "not with an EC2 response"},
		{"a redirect", answer{status: 302, header: map[string][]string{"Location": {"http://login.test/"}}}, Invalid, Invalid, 1, "HTTP 302"},
		{"an empty 500", answer{status: 500}, Transient, Ambiguous, 5, "HTTP 500"},
		{"a reset after sending", reset, Transient, Ambiguous, 5, "connection reset"},
		{"nobody listens", answer{err: dial}, Transient, Transient, 3, "cannot be reached: http://ec2.test"},
		{"no such host", answer{err: &net.DNSError{Err: "no such host", Name: "ec2.nowhere.amazonaws.com", IsNotFound: true}}, Transient, Transient, 3, "no such host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				read := always(test.answer)
				_, err := read.client(t).AttachedVolumes(t.Context(), "i-1")
				fault := wantFault(t, err, test.read)
				if got := len(read.seen("DescribeVolumes")); got != test.reads {
					t.Errorf("%d requests, want %d", got, test.reads)
				}
				if !strings.Contains(fault.Error(), test.message) || !strings.HasPrefix(fault.Error(), "cannot describe the volumes of i-1: ") {
					t.Errorf("says %q, lacks %q", fault, test.message)
				}
				create := always(test.answer)
				_, err = create.client(t).CreateSnapshots(t.Context(), CreateSnapshotsRequest{InstanceID: "i-1"})
				wantFault(t, err, test.create)
				if got := len(create.seen("CreateSnapshots")); got != 1 {
					t.Errorf("CreateSnapshots was sent %d times", got)
				}
			})
		})
	}
}

func TestACanceledCallSaysWhetherItMayHaveTakenEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := always(answer{latency: time.Minute}).client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := client.CreateVolume(ctx, CreateVolumeRequest{ClientToken: "t"})
		wantFault(t, err, Canceled)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not unwrap to the context's error", err)
		}
		_, err = client.CreateSnapshot(ctx, CreateSnapshotRequest{VolumeID: "vol-1"})
		wantFault(t, err, Canceled) // the context had ended before: nothing was sent

		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = client.CreateSnapshot(ctx, CreateSnapshotRequest{VolumeID: "vol-1"})
		wantFault(t, err, Ambiguous)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not unwrap to the context's error", err)
		}
	})
}

func TestMissingCredentialsAreReportedAtOnce(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	nobody := always(answer{status: 404}) // the metadata service has no role
	client := nobody.client(t, func(cfg *Config) { cfg.Credentials = Credentials{} })
	_, err := client.AttachedVolumes(t.Context(), "i-1")
	fault := wantFault(t, err, Denied)
	if !strings.Contains(fault.Message, "no usable AWS credentials") || !strings.Contains(fault.hint, "attach a role") {
		t.Errorf("says %q, advises %q", fault.Message, fault.hint)
	}
	if len(nobody.seen("DescribeVolumes")) != 0 {
		t.Error("a request was sent without credentials")
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(200, volumesAnswer("", Volume{ID: "vol-1", State: "available", Size: 5}).body)
	f.Add(200, volumesAnswer("again").body)
	f.Add(200, snapshotsAnswer("", Snapshot{ID: "snap-1", State: "completed", Progress: 100}).body)
	f.Add(400, throttled.body)
	f.Add(503, "<html>")
	f.Add(200, "<DescribeVolumesResponse><volumeSet><item><size>x</size></item></volumeSet></DescribeVolumesResponse>")
	f.Add(200, "<CreateSnapshotsResponse><snapshotSet><item><startTime>never</startTime><progress>-7%</progress></item></snapshotSet></CreateSnapshotsResponse>")
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			client := always(answer{status: status, body: body}).client(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, looked := client.AttachedVolumes(ctx, "i-1")
			_, found := client.Snapshots(ctx, SnapshotQuery{})
			_, made := client.CreateSnapshots(ctx, CreateSnapshotsRequest{InstanceID: "i-1"})
			for _, err := range []error{looked, found, made} {
				if err == nil {
					continue
				}
				if ClassOf(err) == 0 || strings.Contains(err.Error(), "\n\n") {
					t.Errorf("HTTP %d %q: %v (%T)", status, body, err, err)
				}
			}
		})
	})
}
