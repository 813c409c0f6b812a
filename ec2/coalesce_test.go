package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2/ebs"
)

// volumeList answers DescribeVolumes from a list, after some latency.
type volumeList struct {
	mu      sync.Mutex
	volumes []Volume
	latency time.Duration
}

func (w *volumeList) answer(r request) answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []Volume
	for _, v := range w.volumes {
		if ids := r.filter("volume-id"); ids != nil && !slices.Contains(ids, v.ID) {
			continue
		}
		if on := r.filter("attachment.instance-id"); on != nil {
			if len(v.Attachments) == 0 || !slices.Contains(on, v.Attachments[0].InstanceID) {
				continue
			}
		}
		if role := r.filter("tag:role"); role != nil && !slices.Contains(role, v.Tags["role"]) {
			continue
		}
		if token := r.filter("tag:token"); token != nil && !slices.Contains(token, v.Tags["token"]) {
			continue
		}
		some = append(some, v)
	}
	a := volumesAnswer("", some...)
	a.latency = w.latency
	return a
}

func (w *volumeList) set(id string, change func(*Volume)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.volumes {
		if w.volumes[i].ID == id {
			change(&w.volumes[i])
		}
	}
}

func volumesNamed(n int, state string) []Volume {
	volumes := make([]Volume, n)
	for i := range volumes {
		volumes[i] = Volume{ID: fmt.Sprintf("vol-%d", i), State: ebs.VolumeState(state), Size: 5, Tags: map[string]string{"role": "db", "token": fmt.Sprintf("token-%d", i)}}
	}
	return volumes
}

func TestConcurrentDescribesShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(16, "in-use"), latency: 50 * time.Millisecond}
		for i := range w.volumes {
			w.volumes[i].Attachments = []Attachment{{InstanceID: "i-1", Device: fmt.Sprintf("/dev/sd%c", 'z'-i), State: "attached"}}
		}
		cloud := &fakeEC2{answer: w.answer}
		client := cloud.client(t)
		var lanes sync.WaitGroup
		for i := range 16 {
			lanes.Go(func() {
				volume, err := client.Volume(t.Context(), fmt.Sprintf("vol-%d", i))
				if err != nil || volume.ID != fmt.Sprintf("vol-%d", i) {
					t.Errorf("lane %d saw %q: %v", i, volume.ID, err)
				}
			})
			lanes.Go(func() {
				volumes, err := client.AttachedVolumes(t.Context(), "i-1")
				if err != nil || len(volumes) != 16 || volumes[0].ID != "vol-15" {
					t.Errorf("lane %d saw %d volumes: %v", i, len(volumes), err)
					return
				}
				volumes[0].Tags["role"], volumes[0].Attachments[0].Device = "mine", "mine" // nobody else may see this: -race
			})
			lanes.Go(func() {
				volumes, err := client.VolumesByTag(t.Context(), map[string]string{"role": "db", "token": fmt.Sprintf("token-%d", i)})
				if err != nil || len(volumes) != 1 || volumes[0].ID != fmt.Sprintf("vol-%d", i) {
					t.Errorf("lane %d found %v: %v", i, volumes, err)
				}
			})
		}
		lanes.Wait()
		if got := len(cloud.seen("DescribeVolumes")); got != 3 {
			t.Errorf("48 looks of 3 kinds made %d calls, want 3", got)
		}
	})
}

func TestACoalescedDescribeIsNeverOlderThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(1, "creating"), latency: 100 * time.Millisecond}
		cloud := &fakeEC2{answer: w.answer}
		client := cloud.client(t)
		var lanes sync.WaitGroup
		lanes.Go(func() {
			if volume, _ := client.Volume(t.Context(), "vol-0"); volume.State != "creating" {
				t.Errorf("the first look saw %s", volume.State)
			}
		})
		lanes.Go(func() {
			time.Sleep(50 * time.Millisecond) // the first call is under way
			w.set("vol-0", func(v *Volume) { v.State = "available" })
			if volume, _ := client.Volume(t.Context(), "vol-0"); volume.State != "available" {
				t.Errorf("the second look saw %s, which was so before it asked", volume.State)
			}
		})
		lanes.Wait()
		if got := len(cloud.seen("")); got != 2 {
			t.Errorf("%d calls, want 2", got)
		}
	})
}

func TestOneCallerLeavingDoesNotAffectTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &fakeEC2{answer: (&volumeList{volumes: volumesNamed(2, "available"), latency: time.Second}).answer}
		client := cloud.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		var lanes sync.WaitGroup
		lanes.Go(func() {
			begun := time.Now()
			_, err := client.Volume(ctx, "vol-0") // first to come: the call was made on its behalf
			wantFault(t, err, Canceled)
			if waited := time.Since(begun); waited != 200*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("left after %s with %v", waited, err)
			}
		})
		lanes.Go(func() {
			time.Sleep(time.Millisecond)
			if _, err := client.Volume(t.Context(), "vol-1"); err != nil {
				t.Errorf("the one who stayed: %v", err)
			}
		})
		lanes.Wait()
		if got := len(cloud.seen("")); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

func TestTheLastCallerLeavingEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := always(answer{latency: time.Hour}).client(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := client.AttachedVolumes(ctx, "i-1")
		wantFault(t, err, Canceled)
		if time.Since(begun) > 2*time.Second {
			t.Errorf("left after %s", time.Since(begun))
		}
		// The bubble ends only when no goroutine is left: a call that went on would fail the test.
	})
}

// Who is cut off is told what EC2 answered meanwhile, and what to do about it.
func TestADescribeThatIsCutOffSaysWhatWasAnswered(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer answer
		want   string
		code   string
	}{
		{"throttled", errorAnswer(503, "RequestLimitExceeded", "Request limit exceeded."), "the last one answered: Request limit exceeded", "RequestLimitExceeded"},
		{"without credentials", answer{}, "the last one answered: no usable AWS credentials: the metadata service does not answer", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.code == "" {
				noEnvironment(t)
			}
			synctest.Test(t, func(t *testing.T) {
				client := always(c.answer).client(t)
				if c.code == "" {
					refused := func(*http.Request) (*http.Response, error) { return nil, errors.New("connect: connection refused") }
					var err error
					if client, err = New(t.Context(), Config{Region: "eu-west-1", Transport: &slowMetadata{t: t, times: -1, wrong: refused}, MetadataURL: "http://metadata.invalid"}); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, err := client.VolumesByTag(ctx, map[string]string{"role": "db"})
				fault := wantFault(t, err, Canceled)
				if !strings.HasPrefix(fault.Error(), "cannot find volumes by tag role: timed out after ") || !strings.Contains(fault.Message, c.want) || fault.Code != c.code || c.code == "" && fault.Hint() == "" {
					t.Errorf("%v; %s", err, fault.Hint())
				}
				time.Sleep(time.Minute) // the SDK goes on asking for credentials for a moment
			})
		})
	}
}

func TestAFailedSharedDescribeFailsEachCallerWithItsOwnMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := always(errorAnswer(403, "UnauthorizedOperation", "You are not authorized to perform this operation."))
		client := cloud.client(t)
		var lanes sync.WaitGroup
		for _, id := range []string{"vol-0", "vol-1", "vol-2"} {
			lanes.Go(func() {
				_, err := client.Volume(t.Context(), id)
				fault := wantFault(t, err, Denied)
				if !strings.HasPrefix(err.Error(), "cannot describe "+id+":") || !strings.Contains(fault.hint, "ec2:DescribeVolumes") {
					t.Errorf("%v; %s", err, fault.hint)
				}
			})
		}
		lanes.Wait()
		if got := len(cloud.seen("")); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

func TestCoalescedDescribesStayWithinTheFilterLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const volumes = 3*maxFilterValues + 7
		cloud := &fakeEC2{answer: (&volumeList{volumes: volumesNamed(volumes, "available")}).answer}
		client := cloud.client(t)
		var lanes sync.WaitGroup
		for i := range volumes {
			lanes.Go(func() {
				if _, err := client.Volume(t.Context(), fmt.Sprintf("vol-%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		lanes.Wait()
		asked := 0
		for _, r := range cloud.seen("DescribeVolumes") {
			ids := r.filter("volume-id")
			asked += len(ids)
			if len(ids) > maxFilterValues {
				t.Errorf("a call asks for %d", len(ids))
			}
		}
		if calls := len(cloud.seen("")); asked != volumes || calls != 4 {
			t.Errorf("%d calls asked for %d volumes", calls, asked)
		}
	})
}

func TestEqualSnapshotQueriesShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		cloud := always(snapshotsAnswer("", Snapshot{ID: "snap-old", State: "completed", Started: noon.Add(-time.Hour)}, Snapshot{ID: "snap-new", State: "pending", Progress: 40, Started: noon}))
		client := cloud.client(t)
		var lanes sync.WaitGroup
		for i := range 8 {
			query := SnapshotQuery{Tags: map[string][]string{"role": {"db"}, "cluster": {"main"}}}
			if i == 7 {
				query.States = []ebs.SnapshotState{"completed"}
			}
			lanes.Go(func() {
				found, err := client.Snapshots(t.Context(), query)
				if err != nil || len(found) != 2 || found[0].ID != "snap-new" || found[0].Progress != 40 || !found[0].Started.Equal(noon) {
					t.Errorf("found %+v: %v", found, err)
				}
			})
		}
		lanes.Wait()
		calls := cloud.seen("DescribeSnapshots")
		if len(calls) != 2 {
			t.Fatalf("%d calls, want one for each of the 2 queries", len(calls))
		}
		for _, r := range calls {
			if r.Form.Get("Owner.1") != "self" || r.Form.Get("MaxResults") != "1000" || !slices.Equal(r.filter("tag:role"), []string{"db"}) {
				t.Errorf("asked for %v", r.Form)
			}
		}
	})
}
