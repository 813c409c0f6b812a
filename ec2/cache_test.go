package ec2

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// describeCount counts the describes that a look at vol-0 sends.
func describeCount(t *testing.T, cloud *fakeEC2, client *Client) int {
	t.Helper()
	before := len(cloud.seen(""))
	if v, err := client.Volume(t.Context(), "vol-0"); err != nil || v.ID != "vol-0" {
		t.Fatalf("Volume = %q, %v", v.ID, err)
	}
	return len(cloud.seen("")) - before
}

// What a describe has just shown of a volume is not asked again, until this client changes something, or for a second.
func TestACachedVolumeIsNotDescribedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		then  func(context.Context, *Client) error
		calls int // describes of the second look
	}{
		{"at once", func(context.Context, *Client) error { return nil }, 0},
		{"within a second", func(context.Context, *Client) error { time.Sleep(900 * time.Millisecond); return nil }, 0},
		{"after more than a second", func(context.Context, *Client) error { time.Sleep(1100 * time.Millisecond); return nil }, 1},
		{"after tagging", func(ctx context.Context, c *Client) error {
			return c.CreateTags(ctx, []string{"vol-0"}, map[string]string{"a": "b"})
		}, 1},
		{"after a change that failed", func(ctx context.Context, c *Client) error {
			_, err := c.AttachVolume(ctx, "vol-0", "i-1", "/dev/sdf")
			if ClassOf(err) != InUse {
				return err
			}
			return nil
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &volumeList{volumes: volumesNamed(3, "in-use"), latency: 50 * time.Millisecond}
				for i := range w.volumes {
					w.volumes[i].Attachments = []Attachment{{InstanceID: "i-1", Device: "/dev/sdf", State: "attached"}}
				}
				cloud := &fakeEC2{answer: func(r request) answer {
					switch r.Action {
					case "CreateTags":
						return answer{body: `<CreateTagsResponse><return>true</return></CreateTagsResponse>`}
					case "AttachVolume":
						return errorAnswer(400, "VolumeInUse", "it is already attached")
					}
					return w.answer(r)
				}}
				client := cloud.client(t)
				if _, err := client.AttachedVolumes(t.Context(), "i-1"); err != nil {
					t.Fatal(err)
				}
				if err := c.then(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				if n := describeCount(t, cloud, client); n != c.calls {
					t.Errorf("the look sent %d describes, want %d", n, c.calls)
				}
			})
		})
	}
}

// A describe that a change overtook may show either: it is not kept.
func TestADescribeThatRacesAChangeIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(1, "available"), latency: time.Second / 2}
		cloud := &fakeEC2{answer: func(r request) answer {
			if r.Action == "CreateTags" {
				return answer{body: `<CreateTagsResponse><return>true</return></CreateTagsResponse>`}
			}
			return w.answer(r)
		}}
		client := cloud.client(t)
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := client.Volume(t.Context(), "vol-0"); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		if err := client.CreateTags(t.Context(), []string{"vol-0"}, map[string]string{"a": "b"}); err != nil {
			t.Error(err)
		}
		both.Wait()
		if n := describeCount(t, cloud, client); n != 1 {
			t.Errorf("the look after it sent %d describes, want 1", n)
		}
	})
}

// A describe that is sent and answered while a change is under way is not kept either: the change may come about after it.
func TestADescribeDuringAChangeIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(1, "available"), latency: 50 * time.Millisecond}
		cloud := &fakeEC2{answer: func(r request) answer {
			if r.Action == "CreateTags" {
				return answer{body: `<CreateTagsResponse><return>true</return></CreateTagsResponse>`, latency: time.Second / 2}
			}
			return w.answer(r)
		}}
		client := cloud.client(t)
		var change sync.WaitGroup
		change.Go(func() {
			if err := client.CreateTags(t.Context(), []string{"vol-0"}, map[string]string{"a": "b"}); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		if n := describeCount(t, cloud, client); n != 1 {
			t.Errorf("the look during it sent %d describes, want 1", n)
		}
		change.Wait()
		if n := describeCount(t, cloud, client); n != 1 {
			t.Errorf("the look after it sent %d describes, want 1", n)
		}
	})
}

// A listing by tags is what a deletion was decided on; the look before the deletion must not be answered from it.
func TestAListingByTagsIsNotCached(t *testing.T) {
	w := &volumeList{volumes: volumesNamed(2, "available")}
	cloud := &fakeEC2{answer: w.answer}
	client := cloud.client(t)
	if vs, err := client.VolumesByTag(t.Context(), map[string]string{"role": "db"}); err != nil || len(vs) != 2 {
		t.Fatalf("VolumesByTag = %v, %v", vs, err)
	}
	if n := describeCount(t, cloud, client); n != 1 {
		t.Errorf("the look sent %d describes, want 1", n)
	}
}

func TestADeletedVolumeIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(1, "available"), latency: time.Millisecond}
		cloud := &fakeEC2{answer: w.answer}
		client := cloud.client(t)
		describeCount(t, cloud, client)
		w.mu.Lock()
		w.volumes = nil
		w.mu.Unlock()
		if _, err := client.describeVolumes(t.Context(), "volume-id", []string{"vol-0"}); err != nil {
			t.Fatal(err)
		}
		if v, err := client.Volume(t.Context(), "vol-0"); ClassOf(err) != NotFound {
			t.Errorf("Volume = %+v, %v; want NotFound", v, err)
		}
	})
}

// A copy is handed out: nobody changes what the next one sees.
func TestTheCacheReturnsCopies(t *testing.T) {
	w := &volumeList{volumes: volumesNamed(1, "available")}
	cloud := &fakeEC2{answer: w.answer}
	client := cloud.client(t)
	for range 3 { // asked, and remembered twice
		v, err := client.Volume(t.Context(), "vol-0")
		if err != nil || v.Tags["role"] != "db" {
			t.Fatalf("Volume = %+v, %v", v, err)
		}
		v.Tags["role"] = "changed"
	}
}
