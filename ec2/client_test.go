package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"snaptastic/ec2/ebs"
)

func TestEveryPageIsRead(t *testing.T) {
	cloud := &fakeEC2{answer: func(r request) answer {
		describe, list := volumesAnswer, []Volume{{ID: "vol-" + r.Form.Get("NextToken"), State: "in-use", Attachments: []Attachment{{InstanceID: "i-1", State: "attached"}}}}
		next := map[string]string{"": "2", "2": "3", "3": ""}[r.Form.Get("NextToken")]
		if r.Form.Get("NextToken") == "2" {
			list = nil // EC2 may send an empty page in the middle
		}
		if r.Action == "DescribeSnapshots" {
			return snapshotsAnswer(next, Snapshot{ID: "snap-" + r.Form.Get("NextToken")})
		}
		return describe(next, list...)
	}}
	client := cloud.client(t, func(cfg *Config) { cfg.PageSize = 5 })
	volumes, err := client.AttachedVolumes(t.Context(), "i-1")
	if err != nil || len(volumes) != 2 {
		t.Errorf("volumes %v: %v", volumes, err)
	}
	snapshots, err := client.Snapshots(t.Context(), SnapshotQuery{})
	if err != nil || len(snapshots) != 3 {
		t.Errorf("snapshots %v: %v", snapshots, err)
	}
	for _, r := range cloud.seen("") {
		if r.Form.Get("MaxResults") != "5" {
			t.Errorf("asked for %v", r.Form)
		}
	}
}

func TestAPageTokenThatRepeatsIsAnErrorAndNoLoop(t *testing.T) {
	client := always(volumesAnswer("again")).client(t)
	_, err := client.AttachedVolumes(t.Context(), "i-1")
	wantFault(t, err, Invalid)
}

// A list that breaks off must never pass for a short list.
func TestNoPrefixOfAResponseIsAccepted(t *testing.T) {
	whole := volumesAnswer("", Volume{ID: "vol-1", State: "in-use", Attachments: []Attachment{{InstanceID: "i-1", State: "attached"}}}, Volume{ID: "vol-2", State: "in-use"}).body
	end := strings.LastIndex(whole, "</DescribeVolumesResponse>")
	synctest.Test(t, func(t *testing.T) {
		for cut := range end {
			_, err := always(answer{body: whole[:cut]}).client(t).AttachedVolumes(t.Context(), "i-1")
			if err == nil {
				t.Fatalf("the first %d bytes passed for an answer: %s", cut, whole[:cut])
			}
		}
	})
}

func TestCreateVolumeIsRepeatedWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := inSequence(reset, errorAnswer(500, "InternalError", ""), throttled, createdAnswer("vol-9"))
		volume, err := cloud.client(t).CreateVolume(t.Context(), CreateVolumeRequest{
			ClientToken: "token-1", Zone: "eu-west-1a", Size: 20, SnapshotID: "snap-1", Type: "gp3", IOPS: 4000, Throughput: 250,
			InitializationRate: 200, Encrypted: aws.Bool(true), KMSKeyID: "key-1", Tags: map[string]string{"b": "2", "a": "1"},
		})
		if err != nil || volume.ID != "vol-9" || volume.State != "creating" || volume.Size != 5 {
			t.Fatalf("%+v: %v", volume, err)
		}
		calls := cloud.seen("CreateVolume")
		if len(calls) != 4 {
			t.Errorf("%d calls, want 4", len(calls))
		}
		want := map[string]string{
			"ClientToken": "token-1", "AvailabilityZone": "eu-west-1a", "Size": "20", "SnapshotId": "snap-1", "VolumeType": "gp3", "Iops": "4000",
			"Throughput": "250", "VolumeInitializationRate": "200", "Encrypted": "true", "KmsKeyId": "key-1",
			"TagSpecification.1.ResourceType": "volume", "TagSpecification.1.Tag.1.Key": "a", "TagSpecification.1.Tag.2.Value": "2",
		}
		for _, r := range calls {
			for key, value := range want {
				if r.Form.Get(key) != value {
					t.Errorf("%s is %q, want %q", key, r.Form.Get(key), value)
				}
			}
		}
	})
}

func TestARequestThatIsWrongFromTheStartIsNotSent(t *testing.T) {
	cloud := always(createdAnswer("vol-9"))
	client := cloud.client(t)
	_, err := client.CreateVolume(t.Context(), CreateVolumeRequest{ClientToken: strings.Repeat("x", 65)})
	wantFault(t, err, Invalid)
	_, err = client.CreateVolume(t.Context(), CreateVolumeRequest{})
	wantFault(t, err, Invalid)
	_, err = client.VolumesByTag(t.Context(), nil)
	wantFault(t, err, Invalid)
	_, err = client.CreateSnapshots(t.Context(), CreateSnapshotsRequest{InstanceID: "i-1", ExcludeVolumes: make([]string, 41)})
	if fault := wantFault(t, err, Limit); !strings.Contains(fault.hint, `consistency = "volume"`) {
		t.Errorf("%v; %s", err, fault.hint)
	}
	if len(cloud.seen("")) != 0 {
		t.Errorf("sent %v", cloud.seen(""))
	}
}

func TestCreateSnapshotsIsSentOnceWhateverTheAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		answer answer
		class  Class
	}{
		"lost response": {reset, Ambiguous},
		"500":           {errorAnswer(500, "InternalError", ""), Ambiguous},
		"throttled":     {throttled, Throttled},
		"too fast":      {errorAnswer(400, "SnapshotCreationPerVolumeRateExceeded", ""), RateExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := always(test.answer)
				client := cloud.client(t)
				_, err := client.CreateSnapshots(t.Context(), CreateSnapshotsRequest{InstanceID: "i-1", ExcludeBoot: true, ExcludeVolumes: []string{"vol-8"}, Tags: map[string]string{"k": "v"}})
				fault := wantFault(t, err, test.class)
				if test.class == RateExceeded && fault.RetryAfter < 15*time.Second {
					t.Errorf("retry after %s", fault.RetryAfter)
				}
				_, err = client.CreateSnapshot(t.Context(), CreateSnapshotRequest{VolumeID: "vol-1"})
				wantFault(t, err, test.class)
				if many, one := len(cloud.seen("CreateSnapshots")), len(cloud.seen("CreateSnapshot")); many != 1 || one != 1 {
					t.Errorf("sent %d and %d times", many, one)
				}
				form := cloud.seen("CreateSnapshots")[0].Form
				for key, value := range map[string]string{
					"InstanceSpecification.InstanceId": "i-1", "InstanceSpecification.ExcludeBootVolume": "true",
					"InstanceSpecification.ExcludeDataVolumeId.1": "vol-8", "TagSpecification.1.ResourceType": "snapshot",
				} {
					if form.Get(key) != value {
						t.Errorf("%s is %q, want %q", key, form.Get(key), value)
					}
				}
			})
		})
	}
}

func TestAThrottledCallRetriesUntilItsDeadlineAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := always(throttled)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		_, err := cloud.client(t).AttachVolume(ctx, "vol-1", "i-1", "/dev/sdf")
		fault := wantFault(t, err, Canceled)
		if !strings.Contains(err.Error(), "Request limit exceeded") || fault.Code != "RequestLimitExceeded" || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if got := len(cloud.seen("")); got < 20 || got > 60 {
			t.Errorf("%d attempts in 2 minutes", got)
		}
	})
}

func TestAThrottledActionIsRateLimitedAndOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		busy.Store(true)
		cloud := &fakeEC2{}
		cloud.answer = func(r request) answer {
			if r.Action == "CreateVolume" && busy.Load() {
				return throttled
			}
			if r.Action == "CreateVolume" {
				return createdAnswer("vol-1")
			}
			return volumesAnswer("")
		}
		client := cloud.client(t)
		time.AfterFunc(20*time.Second, func() { busy.Store(false) })
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				if _, err := client.CreateVolume(t.Context(), CreateVolumeRequest{ClientToken: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(10 * time.Second)
		begun := time.Now()
		if _, err := client.AttachedVolumes(t.Context(), "i-1"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 10*time.Millisecond {
			t.Errorf("a describe waited %s behind throttled creates", took)
		}
		begun = time.Now()
		for range 8 {
			<-done
		}
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("8 creates took %s more, 10 s of them throttled", took)
		}
		if got := len(cloud.seen("CreateVolume")); got > 40 {
			t.Errorf("%d attempts", got)
		}
	})
}

func TestDetachIsDoneWhenTheVolumeIsOff(t *testing.T) {
	incorrect := errorAnswer(400, "IncorrectState", "Volume 'vol-1' is in the 'available' state.")
	for _, test := range []struct {
		name   string
		refuse answer
		state  string // of the attachment; empty: none
		class  Class
	}{
		{"available", incorrect, "", 0},
		{"on another instance", errorAnswer(400, "InvalidAttachment.NotFound", ""), "", 0},
		{"on its way off", incorrect, "detaching", 0},
		{"still on its way there", incorrect, "attaching", SettleLater},
		{"refused", errorAnswer(403, "UnauthorizedOperation", ""), "", Denied},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := &fakeEC2{answer: func(r request) answer {
					if r.Action == "DetachVolume" {
						return test.refuse
					}
					v := Volume{ID: "vol-1", State: "available"}
					if test.state != "" {
						v.Attachments = []Attachment{{InstanceID: "i-1", State: ebs.AttachmentState(test.state)}}
					}
					return volumesAnswer("", v)
				}}
				err := cloud.client(t).DetachVolume(t.Context(), "vol-1", "i-1", "/dev/sdf")
				if test.class == 0 && err != nil || test.class != 0 && ClassOf(err) != test.class {
					t.Errorf("got %v, want class %s", err, test.class)
				}
				if form := cloud.seen("DetachVolume")[0].Form; form.Has("Force") {
					t.Error("detached by force")
				}
			})
		})
	}
}

func TestADeletionWhoseAnswerWasLostIsDoneWhenNothingIsLeft(t *testing.T) {
	gone := errorAnswer(400, "InvalidVolume.NotFound", "The volume 'vol-1' does not exist.")
	synctest.Test(t, func(t *testing.T) {
		if err := inSequence(reset, gone).client(t).DeleteVolume(t.Context(), "vol-1"); err != nil {
			t.Errorf("after a lost answer: %v", err)
		}
		// Without one, the volume may have been made a moment ago and not be visible yet.
		wantFault(t, inSequence(gone).client(t).DeleteVolume(t.Context(), "vol-1"), NotFound)
		wantFault(t, inSequence(throttled, gone).client(t).DeleteSnapshot(t.Context(), "snap-1"), NotFound)
	})
}

func TestTagsGoInBatchesOfTwoHundred(t *testing.T) {
	done := func(action string) answer {
		return answer{body: fmt.Sprintf(`<%sResponse %s><return>true</return></%sResponse>`, action, xmlns, action)}
	}
	cloud := &fakeEC2{answer: func(r request) answer { return done(r.Action) }}
	client := cloud.client(t)
	ids := make([]string, 450)
	for i := range ids {
		ids[i] = fmt.Sprintf("snap-%d", i)
	}
	if err := client.CreateTags(t.Context(), ids, map[string]string{"state": "consistent"}); err != nil {
		t.Error(err)
	}
	if err := client.DeleteTags(t.Context(), ids[:3], []string{"state", "other"}); err != nil {
		t.Error(err)
	}
	tagged := map[string]bool{}
	for _, r := range cloud.seen("CreateTags") {
		for i := 1; r.Form.Has(fmt.Sprintf("ResourceId.%d", i)); i++ {
			tagged[r.Form.Get(fmt.Sprintf("ResourceId.%d", i))] = true
		}
	}
	if calls := len(cloud.seen("CreateTags")); calls != 3 || len(tagged) != 450 {
		t.Errorf("%d calls tagged %d", calls, len(tagged))
	}
	if form := cloud.seen("DeleteTags")[0].Form; form.Get("Tag.2.Key") != "other" || form.Has("Tag.1.Value") {
		t.Errorf("asked for %v", form)
	}
}

func TestDeleteOnTerminationIsSetForTheDevice(t *testing.T) {
	cloud := always(answer{body: `<ModifyInstanceAttributeResponse><return>true</return></ModifyInstanceAttributeResponse>`})
	if err := cloud.client(t).SetDeleteOnTermination(t.Context(), "i-1", "/dev/sdf", false); err != nil {
		t.Fatal(err)
	}
	form := cloud.seen("ModifyInstanceAttribute")[0].Form
	if form.Get("BlockDeviceMapping.1.DeviceName") != "/dev/sdf" || form.Get("BlockDeviceMapping.1.Ebs.DeleteOnTermination") != "false" {
		t.Errorf("asked for %v", form)
	}
}

func TestFilterValuesThatMeanThemselves(t *testing.T) {
	if got := Literal(`a*b?c\d`); got != `a\*b\?c\\d` {
		t.Error(got)
	}
	cloud := always(volumesAnswer("", Volume{ID: "vol-1", State: "available", Tags: map[string]string{"k": "axb"}}, Volume{ID: "vol-2", State: "available", Tags: map[string]string{"k": "a*b"}}))
	found, err := cloud.client(t).VolumesByTag(t.Context(), map[string]string{"k": "a*b"})
	if err != nil || len(found) != 1 || found[0].ID != "vol-2" {
		t.Errorf("found %v: %v", found, err)
	}
	if values := cloud.seen("")[0].filter("tag:k"); !slices.Equal(values, []string{`a\*b`}) {
		t.Errorf("filtered by %q", values)
	}
}

func TestDryRunTellsAllowedFromDenied(t *testing.T) {
	for _, action := range Permissions {
		client := always(errorAnswer(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")).client(t)
		if err := client.DryRun(t.Context(), action, DryRunRequest{Zone: "eu-west-1a"}); err != nil {
			t.Errorf("%s: %v", action, err)
		}
		cloud := always(errorAnswer(403, "UnauthorizedOperation", ""))
		fault := wantFault(t, cloud.client(t).DryRun(t.Context(), action, DryRunRequest{}), Denied)
		if !strings.Contains(fault.hint, "ec2:"+action) {
			t.Errorf("%s: %s", action, fault.hint)
		}
		if form := cloud.seen("")[0].Form; form.Get("DryRun") != "true" || form.Get("Action") != action {
			t.Errorf("%s asked for %v", action, form)
		}
	}
	client := always(throttled).client(t)
	wantFault(t, client.DryRun(t.Context(), "TerminateInstances", DryRunRequest{}), Invalid)
	if got := slices.Sorted(maps.Keys(client.dryRunCalls(DryRunRequest{}))); !slices.Equal(got, slices.Sorted(slices.Values(Permissions))) {
		t.Errorf("trials %v, permissions %v", got, Permissions)
	}
}

// Over a real connection: the call that follows Warm opens none.
func TestWarmLeavesAConnectionOpen(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") == "DescribeVolumes" {
			fmt.Fprint(w, volumesAnswer("").body)
			return
		}
		fmt.Fprintf(w, `<CreateSnapshotsResponse %s><snapshotSet/></CreateSnapshotsResponse>`, xmlns)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client, err := New(t.Context(), Config{Region: "eu-west-1", EndpointURL: server.URL, Credentials: Credentials{ID: "a", Secret: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateSnapshots(t.Context(), CreateSnapshotsRequest{InstanceID: "i-1"}); err != nil {
		t.Fatal(err)
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestWarmAcceptsAnErrorAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := always(errorAnswer(403, "UnauthorizedOperation", "")).client(t).Warm(t.Context()); err != nil {
			t.Error(err)
		}
		wantFault(t, always(reset).client(t).Warm(t.Context()), Transient)
	})
}

// rotatingCredentials hands out credentials that live for ten minutes, and counts.
type rotatingCredentials struct{ handed int }

func (r *rotatingCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	r.handed++
	return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b", CanExpire: true, Expires: time.Now().Add(10 * time.Minute)}, nil
}

func TestWarmRenewsCredentialsThatWouldExpireInTheFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingCredentials{}
		client := always(volumesAnswer("")).client(t)
		client.loaded.Credentials = aws.NewCredentialsCache(source)
		for _, wait := range []time.Duration{0, 7 * time.Minute, 90 * time.Second} { // 10, 3 and 1.5 minutes are left
			time.Sleep(wait)
			if err := client.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if source.handed != 2 {
			t.Errorf("fetched %d times, want once at first and once at the end", source.handed)
		}
	})
}

func TestNewSendsNoRequest(t *testing.T) {
	cloud := always(throttled)
	cloud.client(t)
	cloud.client(t, func(cfg *Config) { cfg.Credentials, cfg.Region = Credentials{}, "" })
	if got := cloud.seen(""); len(got) != 0 {
		t.Errorf("made %d calls", len(got))
	}
}

func TestABrokenAWSConfigurationIsReported(t *testing.T) {
	t.Setenv("AWS_PROFILE", "nobody")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	if _, err := New(t.Context(), Config{}); err == nil || !strings.HasPrefix(err.Error(), "cannot read the AWS configuration: ") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(context.Background(), Config{Region: "eu-west-1"}); err != nil {
			b.Fatal(err)
		}
	}
}
