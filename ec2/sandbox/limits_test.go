package sandbox_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

func (w *rig) trySnapshot(volume string) (string, error) {
	out, err := w.c.CreateSnapshot(w.Context(), &ec2.CreateSnapshotInput{VolumeId: &volume})
	if err != nil {
		return "", err
	}
	return *out.SnapshotId, nil
}

func TestAVolumeHasSoManyPendingSnapshots(t *testing.T) {
	w := filesOnly(t, sandbox.Config{Latency: sandbox.Latency{Snapshot: time.Hour}})
	for kind, most := range map[types.VolumeType]int{"gp3": 5, "gp2": 5, "io2": 5, "standard": 5, "st1": 1, "sc1": 1} {
		volume := w.volume(200, func(in *ec2.CreateVolumeInput) {
			if in.VolumeType = kind; kind == "io2" {
				in.Iops = aws.Int32(100)
			}
		})
		var last string
		for range most {
			last = w.snapshot(volume)
		}
		if _, err := w.trySnapshot(volume); errorCode(err) != "ConcurrentSnapshotLimitExceeded" {
			t.Errorf("%s: number %d: %v", kind, most+1, err)
		}
		if _, err := w.c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &last}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.trySnapshot(volume); errorCode(err) != "ConcurrentSnapshotLimitExceeded" {
			t.Errorf("%s: a pending snapshot that was deleted does not count: %v", kind, err)
		}
	}
}

func TestASetIsRefusedAsAWholeWhenOneVolumeHasTooMany(t *testing.T) {
	w := filesOnly(t, sandbox.Config{Latency: sandbox.Latency{Snapshot: time.Hour}})
	full, other := w.volume(1), w.volume(1)
	w.attach(full, "/dev/sdf")
	w.attach(other, "/dev/sdg")
	for range 5 {
		w.snapshot(full)
	}
	_, err := w.c.CreateSnapshots(t.Context(), &ec2.CreateSnapshotsInput{
		InstanceSpecification: &types.InstanceSpecification{InstanceId: &w.instance, ExcludeBootVolume: aws.Bool(true)}})
	if errorCode(err) != "ConcurrentSnapshotLimitExceeded" {
		t.Errorf("the set: %v", err)
	}
	out, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("volume-id", other)}})
	if err != nil || len(out.Snapshots) != 0 {
		t.Errorf("of the other volume there are %d, %v", len(out.Snapshots), err)
	}
}

func TestAStrictSandboxTakesASnapshotOfAVolumeEvery15Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Strict: true})
		one, other := w.volume(1), w.volume(1)
		deleted := w.snapshot(one)
		if _, err := w.c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &deleted}); err != nil {
			t.Fatal(err)
		}
		w.snapshot(other)
		time.Sleep(14 * time.Second)
		if _, err := w.trySnapshot(one); errorCode(err) != "SnapshotCreationPerVolumeRateExceeded" {
			t.Errorf("after 14 seconds: %v", err)
		}
		time.Sleep(time.Second)
		w.snapshot(one)
	})
}

func TestTheRatiosOfAVolume(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	for _, test := range []struct {
		kind                   types.VolumeType
		size, iops, throughput int32
		want                   string
	}{
		{"gp3", 1, 3000, 0, ""}, // the base, at any size
		{"gp3", 8, 4000, 0, ""},
		{"gp3", 8, 4001, 0, "InvalidParameterValue"},
		{"gp3", 200, 80000, 0, ""},
		{"gp3", 200, 80001, 0, "InvalidParameterValue"},
		{"gp3", 8, 0, 750, ""},
		{"gp3", 8, 0, 751, "InvalidParameterValue"},
		{"gp3", 20, 8000, 2000, ""},
		{"gp3", 20, 7999, 2000, "InvalidParameterValue"},
		{"gp3", 20, 0, 124, "InvalidParameterValue"},
		{"io1", 10, 500, 0, ""},
		{"io1", 10, 501, 0, "InvalidParameterValue"},
		{"io1", 10, 500, 200, "InvalidParameterCombination"},
		{"io2", 10, 10000, 0, ""},
		{"io2", 10, 10001, 0, "InvalidParameterValue"},
		{"gp2", 10, 100, 0, "InvalidParameterCombination"},
		{"st1", 124, 0, 0, "InvalidParameterValue"},
	} {
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: &test.size, VolumeType: test.kind}
		if test.iops > 0 {
			in.Iops = &test.iops
		}
		if test.throughput > 0 {
			in.Throughput = &test.throughput
		}
		_, err := w.c.CreateVolume(t.Context(), in)
		if got := errorCode(err); got != test.want && (err != nil || test.want != "") {
			t.Errorf("%s of %d GiB, %d IOPS, %d MiB/s: %v, want %q", test.kind, test.size, test.iops, test.throughput, err, test.want)
		}
	}
	small := w.volume(8)
	if _, err := w.c.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &small, Iops: aws.Int32(4001)}); errorCode(err) != "InvalidParameterValue" {
		t.Errorf("a modification over the ratio: %v", err)
	}
}

func manyTags(n int) []types.Tag {
	var tags []types.Tag
	for i := range n {
		tags = append(tags, tag(fmt.Sprintf("k%d", i), "v"))
	}
	return tags
}

func TestTagsAndDescriptionsAreLimited(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	volume := w.volume(1)
	onCreate := func(tags ...types.Tag) error {
		_, err := w.c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), Size: aws.Int32(1),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tags}}})
		return err
	}
	later := func(tags ...types.Tag) error {
		_, err := w.c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{volume}, Tags: tags})
		return err
	}
	for name, give := range map[string]func(...types.Tag) error{"on create": onCreate, "later": later} {
		for _, test := range []struct {
			what string
			tags []types.Tag
			want string
		}{
			{"51", manyTags(51), "TagLimitExceeded"},
			{"50", manyTags(50), "<nil>"},
			{"a key of 129", []types.Tag{tag(strings.Repeat("ü", 129), "v")}, "InvalidParameterValue"},
			{"a value of 257", []types.Tag{tag("k0", strings.Repeat("ü", 257))}, "InvalidParameterValue"},
			{"a value of 256", []types.Tag{tag("k0", strings.Repeat("ü", 256))}, "<nil>"},
			{"aws:", []types.Tag{tag("AWS:x", "v")}, "InvalidParameterValue"},
			{"one twice", []types.Tag{tag("k0", "v"), tag("k0", "w")}, "InvalidParameterValue"},
		} {
			if err := give(test.tags...); errorCode(err) != test.want {
				t.Errorf("%s, %s: %v, want %s", name, test.what, err, test.want)
			}
		}
	}
	if err := later(tag("one more", "v")); errorCode(err) != "TagLimitExceeded" {
		t.Errorf("the 51st: %v", err)
	}
	for length, want := range map[int]string{255: "<nil>", 256: "InvalidParameterValue"} {
		text := strings.Repeat("ü", length)
		_, one := w.c.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: &volume, Description: &text})
		if errorCode(one) != want {
			t.Errorf("a description of %d characters: %v", length, one)
		}
	}
}

func TestFiltersAreLimitedAndKnown(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	volume := w.volume(1)
	values := func(n int) []string { return slices.Repeat([]string{volume}, n) }
	many := func(n int) []types.Filter { return slices.Repeat([]types.Filter{filter("volume-id", volume)}, n) }
	for _, test := range []struct {
		what    string
		filters []types.Filter
		want    string
		count   int
	}{
		{"200 values", []types.Filter{filter("volume-id", values(200)...)}, "<nil>", 1},
		{"201 values", []types.Filter{filter("volume-id", values(201)...)}, "FilterLimitExceeded", 0},
		{"201 values of two filters", []types.Filter{filter("volume-id", values(100)...), filter("status", slices.Repeat([]string{"available"}, 101)...)}, "FilterLimitExceeded", 0},
		{"51 filters", many(51), "FilterLimitExceeded", 0},
		{"the zone's id", []types.Filter{filter("availability-zone-id", "euw1-az1"), filter("volume-id", volume)}, "<nil>", 1},
		{"another zone's id", []types.Filter{filter("availability-zone-id", "euw1-az2")}, "<nil>", 0},
		{"not managed", []types.Filter{filter("operator.managed", "false"), filter("volume-id", volume)}, "<nil>", 1},
		{"managed by", []types.Filter{filter("operator.principal", "*")}, "<nil>", 0},
		{"not fast restored", []types.Filter{filter("fast-restored", "false"), filter("volume-id", volume)}, "<nil>", 1},
		{"a copy of", []types.Filter{filter("source-volume-id", volume)}, "<nil>", 0},
		{"unknown", []types.Filter{filter("source-volume", volume)}, "InvalidParameterValue", 0},
	} {
		out, err := w.c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: test.filters})
		if errorCode(err) != test.want || err == nil && len(out.Volumes) != test.count {
			t.Errorf("%s: %v, want %s and %d volumes", test.what, err, test.want, test.count)
		}
	}
}

func TestAPageTokenBelongsToItsRequest(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	for range 12 {
		if _, err := w.AddSnapshot(sandbox.Snapshot{Tags: sandbox.Tags{"role": {Value: "db"}}}); err != nil {
			t.Fatal(err)
		}
	}
	request := func(size int32, token *string, owners []string, filters ...types.Filter) (*ec2.DescribeSnapshotsOutput, error) {
		return w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{MaxResults: &size, NextToken: token, OwnerIds: owners, Filters: filters})
	}
	self := []string{"self"}
	first, err := request(5, nil, self, filter("tag:role", "db"))
	if err != nil || first.NextToken == nil {
		t.Fatal(first, err)
	}
	for what, try := range map[string]func() (*ec2.DescribeSnapshotsOutput, error){
		"another value": func() (*ec2.DescribeSnapshotsOutput, error) {
			return request(5, first.NextToken, self, filter("tag:role", "web"))
		},
		"another filter": func() (*ec2.DescribeSnapshotsOutput, error) {
			return request(5, first.NextToken, self, filter("tag:Role", "db"))
		},
		"no filter": func() (*ec2.DescribeSnapshotsOutput, error) { return request(5, first.NextToken, self) },
		"no owner": func() (*ec2.DescribeSnapshotsOutput, error) {
			return request(5, first.NextToken, nil, filter("tag:role", "db"))
		},
	} {
		if _, err := try(); errorCode(err) != "InvalidNextToken" {
			t.Errorf("with %s: %v", what, err)
		}
	}
	if _, err := w.c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{NextToken: first.NextToken}); errorCode(err) != "InvalidNextToken" {
		t.Errorf("with another action: %v", err)
	}
	rest, err := request(7, first.NextToken, self, filter("tag:role", "db"))
	if err != nil || len(rest.Snapshots) != 7 || rest.NextToken != nil {
		t.Errorf("the rest: %v, %v", rest, err)
	}
}

func TestASecondModificationIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, sandbox.Config{Latency: sandbox.Latency{Modify: time.Hour}})
		volume := w.volume(1)
		grow := func(size int32) error {
			_, err := w.c.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &volume, Size: &size})
			return err
		}
		if err := grow(2); err != nil {
			t.Fatal(err)
		}
		if err := grow(3); errorCode(err) != "IncorrectModificationState" {
			t.Errorf("while the first goes on: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if err := grow(3); errorCode(err) != "VolumeModificationRateExceeded" {
			t.Errorf("within six hours: %v", err)
		}
		time.Sleep(4 * time.Hour)
		if err := grow(3); err != nil {
			t.Errorf("after six hours: %v", err)
		}
	})
}

func TestASharedSnapshotIsSeenWithoutItsOwnersTags(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	theirs, err := w.AddSnapshot(sandbox.Snapshot{OwnerID: "210987654321", Tags: sandbox.Tags{"role": {Value: "db"}}})
	if err != nil {
		t.Fatal(err)
	}
	count := func(in *ec2.DescribeSnapshotsInput) int {
		out, err := w.c.DescribeSnapshots(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Snapshots)
	}
	byID, err := w.c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{theirs}})
	if err != nil || len(byID.Snapshots) != 1 || len(byID.Snapshots[0].Tags) != 0 || *byID.Snapshots[0].OwnerId != "210987654321" {
		t.Errorf("by id: %+v, %v", byID, err)
	}
	if n := count(&ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}}); n != 0 {
		t.Errorf("%d of our own", n)
	}
	if n := count(&ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:role", "db")}}); n != 0 {
		t.Errorf("%d by its owner's tag", n)
	}
	if _, err := w.c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{theirs}, Tags: []types.Tag{tag("note", "ours")}}); err != nil {
		t.Fatal(err)
	}
	if n := count(&ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:note", "ours")}}); n != 1 {
		t.Errorf("%d by the tag that we gave", n)
	}
	if _, err := w.c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &theirs}); errorCode(err) == "<nil>" {
		t.Error("it could be deleted")
	}
	if _, err := w.c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(sandbox.Zone), SnapshotId: &theirs}); err != nil {
		t.Errorf("a volume of it: %v", err)
	}
}

// What a listing of all pages costs grows as what it lists: in memory, which
// does not depend on how busy the machine is.
func TestAListingIsLinear(t *testing.T) {
	w := inMemory(t, sandbox.Config{PageSize: 100})
	cost := func(n int) float64 {
		rows := make([]sandbox.Snapshot, n)
		for i := range rows {
			rows[i].Tags = sandbox.Tags{"role": {Value: "db"}, "n": {Value: fmt.Sprint(i % 10)}}
		}
		if _, err := w.AddSnapshots(rows...); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		seen := 0
		pages := ec2.NewDescribeSnapshotsPaginator(w.c, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(100), Filters: []types.Filter{filter("tag:role", "d*")}})
		for pages.HasMorePages() {
			out, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen += len(out.Snapshots)
		}
		runtime.ReadMemStats(&after)
		if seen%n != 0 {
			t.Fatalf("%d listed of %d", seen, n)
		}
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	half := cost(3000)
	if whole := cost(3000); whole > 2.4*half { // 6000 by now
		t.Errorf("twice as many cost %.1f times as much", whole/half)
	}
}
