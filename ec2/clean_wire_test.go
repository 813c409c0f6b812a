package ec2_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// What cleaning up asks, through the real SDK, five to a page.
func TestCleanUpQueriesAgainstTheSandbox(t *testing.T) {
	client, world := startSandbox(t, sandbox.Config{})
	ctx := t.Context()
	var snaps, images, instances []string
	for i := range 12 {
		s := sandbox.Snapshot{Tags: sandbox.Tags{"mount_point": {Value: "/a"}}}
		if i%3 == 0 {
			s.Lock = &sandbox.Lock{Mode: "governance", Created: time.Now(), Expires: time.Now().Add(time.Duration(i-3) * time.Hour)}
			s.Tags = nil
		}
		id, err := world.AddSnapshot(s)
		if err != nil {
			t.Fatal(err)
		}
		snaps = append(snaps, id)
		image, err := world.AddImage(sandbox.Image{Created: time.Date(2026, 3, 1, 0, 0, i, 0, time.UTC), Disks: []sandbox.ImageVolume{{SnapshotID: id}}})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
		instance, err := world.AddInstance(sandbox.Instance{ImageID: image, Tags: sandbox.Tags{"role": {Value: "db"}}})
		if err != nil {
			t.Fatal(err)
		}
		instances = append(instances, instance)
	}
	tagged, err := client.Snapshots(ctx, ec2.SnapshotQuery{TagKeys: []string{"mount_point", "snaptastic:state"}})
	if err != nil || len(tagged) != 8 {
		t.Errorf("%d snapshots have the tag: %v", len(tagged), err)
	}
	locked, err := client.LockedSnapshots(ctx)
	if got := slices.Sorted(maps.Keys(locked)); err != nil || !slices.Equal(got, slices.Sorted(slices.Values([]string{snaps[6], snaps[9]}))) {
		t.Errorf("locked are %v: %v", locked, err)
	}
	some, err := client.SnapshotsByID(ctx, append([]string{"snap-00000000000000000"}, snaps...)...)
	if err != nil || len(some) != 12 || some[snaps[3]].ID != snaps[3] {
		t.Errorf("by id: %d, %v", len(some), err)
	}
	all, err := client.Images(ctx)
	if err != nil || len(all) != 12 || !slices.ContainsFunc(all, func(i ec2.Image) bool {
		return i.ID == images[4] && i.Created.Second() == 4 && slices.Equal(i.SnapshotIDs, snaps[4:5])
	}) {
		t.Errorf("images: %+v, %v", all, err)
	}
	of, err := client.Instances(ctx, images[4])
	if err != nil || len(of) != 1 || of[0].ID != instances[4] || of[0].State != "running" || of[0].Tags["role"] != "db" {
		t.Errorf("instances: %+v, %v", of, err)
	}
	if every, err := client.Instances(ctx, ""); err != nil || len(every) != 13 { // and its own
		t.Errorf("%d instances: %v", len(every), err)
	}
	if err := client.DeregisterImage(ctx, images[0]); err != nil {
		t.Error(err)
	}
	if left, err := client.Images(ctx, images[0], images[1]); err != nil || len(left) != 1 {
		t.Errorf("left is %+v: %v", left, err)
	}
	if err := client.DeregisterImage(ctx, images[0]); ec2.ClassOf(err) != ec2.NotFound {
		t.Errorf("a second time: %v", err)
	}
	if skew, err := client.Skew(ctx); err != nil || skew.Abs() > 2*time.Second {
		t.Errorf("skew %s: %v", skew, err)
	}
}

func TestTheAverageCPUIsCloudWatchs(t *testing.T) {
	client, world := startSandbox(t, sandbox.Config{Faults: []sandbox.Fault{
		{Action: "GetMetricStatistics", Nth: 1, Error: "Throttling"},
		{Action: "GetMetricStatistics", Nth: 2, Status: 500},
		{Action: "GetMetricStatistics", Nth: 3, Reset: "before"},
		{Action: "GetMetricStatistics", Params: map[string]string{"Dimensions.member.1.Value": "i-denied"}, Error: "AccessDenied"},
	}})
	id, err := world.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	if _, known, err := client.AverageCPU(t.Context(), id, time.Now(), 24*time.Hour); known || err != nil {
		t.Errorf("without data: %v, %v", known, err)
	}
	if err := world.SetCPU(id, 3.25); err != nil {
		t.Fatal(err)
	}
	if percent, known, err := client.AverageCPU(t.Context(), id, time.Now(), 24*time.Hour); percent != 3.25 || !known || err != nil {
		t.Errorf("%v %v %v", percent, known, err)
	}
	_, _, err = client.AverageCPU(t.Context(), "i-denied", time.Now(), 24*time.Hour)
	if fault, ok := err.(*ec2.Fault); !ok || fault.Class != ec2.Denied || !strings.Contains(fault.Hint(), "cloudwatch:GetMetricStatistics") {
		t.Errorf("denied: %v", err)
	}
}

// Running instances by tag, over several pages: nothing that is stopped, pending or terminated, and a wildcard is a character.
func TestRunningInstancesByTagAgainstTheSandbox(t *testing.T) {
	client, world := startSandbox(t, sandbox.Config{})
	var want []string
	add := func(i sandbox.Instance, cluster, shard string) string {
		i.Tags = sandbox.Tags{"cluster": {Value: cluster}, "shard": {Value: shard}}
		id, err := world.AddInstance(i)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for n := range 12 {
		want = append(want, add(sandbox.Instance{}, "shards*", strconv.Itoa(n)))
	}
	add(sandbox.Instance{Stopped: true}, "shards*", "12")
	add(sandbox.Instance{RunningAt: time.Now().Add(time.Hour)}, "shards*", "13")
	add(sandbox.Instance{Terminated: time.Now()}, "shards*", "14") // EC2 shows it for about an hour
	add(sandbox.Instance{}, "shards-too", "1")
	slices.Sort(want)
	ids := func(tags map[string]string) (got []string) {
		found, err := client.RunningInstances(t.Context(), tags)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range found {
			got = append(got, i.ID)
		}
		return got
	}
	if got := ids(map[string]string{"cluster": "shards*"}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := ids(map[string]string{"cluster": "shards*", "shard": "7"}); len(got) != 1 || !slices.Contains(want, got[0]) {
		t.Errorf("with two tags: %v", got)
	}
	if got := ids(map[string]string{"cluster": "none"}); len(got) != 0 {
		t.Errorf("no instance has it, and there are %v", got)
	}
}
