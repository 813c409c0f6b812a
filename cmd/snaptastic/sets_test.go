package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/plan/units"
	"snaptastic/steps/snapset"
)

// aTool is EC2 as another program sees it.
func aTool(endpoint string) *sdk.Client {
	return sdk.New(sdk.Options{Region: sandbox.Region, BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
}

func tagsForTool(tags map[string]string) (list []types.Tag) {
	for key, value := range tags {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return list
}

// copyOf copies a snapshot with its tags, as `aws ec2 copy-snapshot` does when told to.
func (r *rig) copyOf(s ec2.Snapshot) string {
	r.t.Helper()
	out, err := aTool(r.url).CopySnapshot(r.t.Context(), &sdk.CopySnapshotInput{SourceSnapshotId: &s.ID, SourceRegion: aws.String(sandbox.Region),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: tagsForTool(s.Tags)}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.SnapshotId
}

// taken runs a snapshot, and returns what it made.
func (r *rig) taken() []ec2.Snapshot {
	r.t.Helper()
	before := map[string]bool{}
	for _, s := range r.snapshots() {
		before[s.ID] = true
	}
	r.must("run", "snapshot", "db")
	var made []ec2.Snapshot
	for _, s := range r.snapshots() {
		if !before[s.ID] {
			made = append(made, s)
		}
	}
	return made
}

func TestACopyOfAnOldSnapshotIsNotRestoredAsTheNewest(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.mark("old")
	older := r.taken()
	r.mark("new")
	newer := r.taken()
	for _, s := range append(older, newer...) {
		at, naive, ok := units.ParseTime(s.Tags[snapset.TagDataTime])
		if !ok || naive || at.After(s.Started.Add(time.Second)) || s.Started.Sub(at) > time.Minute || s.Tags[snapset.TagSet] == "" || s.Tags[snapset.TagFilterKeys] != "role" {
			t.Errorf("%s, begun %s, has the tags %v", s.ID, s.Started, s.Tags)
		}
	}
	for _, v := range r.volumes() {
		for _, key := range []string{snapset.TagSet, snapset.TagDataTime, snapset.TagFilterKeys, snapset.TagMembers, snapset.TagState} {
			if _, has := v.Tags[key]; has {
				t.Errorf("%s has the tag %s, which is of snapshots alone", v.ID, key)
			}
		}
	}
	copied := r.copyOf(older[0])
	r.lose()
	r.must("run", "mount", "db")
	if got := r.marks(); got != "new new" {
		t.Errorf("restored is %q", got)
	}
	if out := r.must("snapshots", "db", "-o", "json"); !strings.Contains(out, `"copy": true`) {
		t.Errorf("the copy is not shown as one:\n%s", out)
	}
	// The newest set: of one member the copy is left, of the other the original.
	kept := r.copyOf(newer[0])
	if err := r.client.DeleteSnapshot(t.Context(), newer[0].ID); err != nil {
		t.Fatal(err)
	}
	r.lose()
	out := r.must("run", "mount", "db")
	if got := r.marks(); got != "new new" || !strings.Contains(out, kept) {
		t.Errorf("restored is %q, copies %s and %s:\n%s", got, copied, kept, out)
	}
}

func TestTheAgeOfACopyIsThatOfItsData(t *testing.T) {
	r := newReadRig(t, readSettings)
	v := r.volume("/dev/sdf", dbTags("/mnt/a"))
	day := 30 * time.Hour
	s := r.snapshot(v, day, dbTags("/mnt/a", append(labelled, snapset.TagCreated, time.Now().Add(-day).UTC().Format(time.RFC3339))...))
	copied := r.snapshot("vol-ffffffff", time.Minute, dbTags("/mnt/a", append(labelled, snapset.TagCreated, time.Now().Add(-day).UTC().Format(time.RFC3339))...))
	r.wants(1, []string{"check", "db"}, s+` is 30h(\d+s)? old .limit 26h.`, "!"+copied+" is")
	r.wants(1, []string{"check", "db", "--format", "prometheus"}, fmt.Sprintf(`^snaptastic_mount_point_newest_snapshot_timestamp_seconds\{.*\} %d\d{5}$`, time.Now().Add(-day).Unix()/100000))
	r.wants(0, []string{"snapshots", "db"}, `^  /mnt/a: `+s+`, 30 h old`, `^ +/mnt/a +`+copied+` +R1 +30 h .*consistent, a copy`)
}

func TestAnotherToolsSnapshotOfTheOriginalsVolumeIsNobodysBackup(t *testing.T) {
	t.Parallel()
	r := newReadRig(t, readSettings)
	theirs := dbTags("/mnt/a", snapset.TagCreated, time.Now().AddDate(0, -3, 0).Format("2006-01-02 15:04:05.000000"), snapset.TagInstance, "i-0", snapset.TagExpires, "2030-01-01 00:00:00.000000")
	v := r.volume("/dev/sdf", theirs)
	foreign := r.snapshot(v, time.Minute, theirs)
	r.wants(0, []string{"snapshots", "db"}, `/mnt/a: its only snapshot `+foreign+` was created by another tool`)
	r.wants(1, []string{"check", "db"}, foreign+` is from another tool`)
	s := r.snapshot(v, 3*time.Hour, dbTags("/mnt/a", labelled...))
	r.wants(0, []string{"snapshots", "db"}, `^\* +/mnt/a +`+s, `/mnt/a: `+s+`, 3 h old \([^)]*\); `+foreign+` is newer but was created by another tool`)
	r.wants(0, []string{"check", "db"}, s)
	r.wants(1, []string{"check", "db", "--max-age", "2h"}, foreign+` is from another tool`)
	r.wants(0, []string{"clean", "snapshots", "--dry-run"}, `1 snapshot kept: created by another tool`, "nothing to clean up")
}

func TestAPolicyThatCopiesAVolumesTagsBreaksNoSet(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.must("run", "mount", "db")
	r.mark("old")
	r.taken()
	r.mark("new")
	tool := aTool(r.url)
	for _, s := range r.taken() {
		for _, v := range r.volumes() {
			if v.ID != s.VolumeID {
				continue
			}
			if _, err := tool.CreateTags(t.Context(), &sdk.CreateTagsInput{Resources: []string{s.ID}, Tags: tagsForTool(v.Tags)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.lose()
	out := r.must("plan", "mount", "db")
	r.must("run", "mount", "db")
	if got := r.marks(); got != "new new" {
		t.Errorf("restored is %q; planned was\n%s", got, out)
	}
}

func TestARenamedMountPointOrAMistypedTagIsWarnedOf(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	snap := r.taken()[0]
	r.lose()
	point := snap.Tags["mount_point"]
	for _, c := range []struct{ name, from, to, message string }{
		{"renamed", point, point + "-renamed", "snapshot " + snap.ID + " ("},
		{"mistyped", `role = "`, `role = "x`, "is of this mount point and has role="},
		{"another key", "role = ", "rule = ", "has no tag rule="},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := os.ReadFile(r.settings)
			if err != nil {
				t.Fatal(err)
			}
			r.declare(strings.ReplaceAll(string(text), c.from, c.to))
			defer r.declare(string(text))
			out := r.must("plan", "mount", "db")
			if !strings.Contains(out, "warning  ") || !strings.Contains(out, c.message) || !strings.Contains(out, snap.ID) || !strings.Contains(out, "check ") {
				t.Errorf("the plan does not warn:\n%s", out)
			}
			var told struct{ Warnings []string }
			if err := json.Unmarshal([]byte(r.must("plan", "mount", "db", "-o", "json")), &told); err != nil || len(told.Warnings) != 1 || !strings.Contains(told.Warnings[0], c.message) {
				t.Errorf("the JSON has the warnings %q, %v", told.Warnings, err)
			}
			out = r.must("run", "mount", "db")
			if strings.Count(out, c.message) < 2 || !strings.Contains(out, "[WARN]") || !strings.Contains(out, "warning  ") {
				t.Errorf("the run does not warn in its log and in its summary:\n%s", out)
			}
			r.lose()
		})
	}
}

func TestAnAutoTaggerStopsNoRetention(t *testing.T) {
	a := newAccount(t)
	for i := range 5 {
		a.add(time.Duration(20-i)*oneDay, with(ours("/m", fmt.Sprint("R", i), oneDay), "scanned", fmt.Sprint("by job ", i), "snaptastic:filter-keys", "role",
			"snaptastic:set", fmt.Sprintf("R%d/t", i)))
	}
	if out := a.run(0, "clean", "snapshots", "--yes"); len(a.snapshots()) != 1 || !strings.Contains(out, "the newest restorable snapshot of /m") {
		t.Errorf("left are %v:\n%s", a.snapshots(), out)
	}
	b := newAccount(t)
	for i := range 5 { // of an older build
		b.add(time.Duration(20-i)*oneDay, with(ours("/m", fmt.Sprint("R", i), oneDay), "scanned", fmt.Sprint("by job ", i)))
	}
	if out := b.run(0, "clean", "snapshots", "--yes"); len(b.snapshots()) != 5 || !strings.Contains(out, "give NAME") {
		t.Errorf("left are %v:\n%s", b.snapshots(), out)
	}
}

// With the AWS CLI, word for word as an operator does it.
func TestACopyByTheAWSCLIIsAsOldAsItsData(t *testing.T) {
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("aws is not installed")
	}
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.mark("old")
	older := r.taken()[0]
	r.mark("new")
	r.taken()
	var tags []map[string]string
	for key, value := range older.Tags {
		tags = append(tags, map[string]string{"Key": key, "Value": value})
	}
	spec, err := json.Marshal([]map[string]any{{"ResourceType": "snapshot", "Tags": tags}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("aws", "--endpoint-url", r.url, "--region", sandbox.Region, "ec2", "copy-snapshot", "--source-region", sandbox.Region,
		"--source-snapshot-id", older.ID, "--tag-specifications", string(spec))
	cmd.Env = append(cmd.Environ(), "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_PAGER=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.lose()
	r.must("run", "mount", "db")
	if got := r.marks(); got != "new" {
		t.Errorf("restored is %q", got)
	}
}
