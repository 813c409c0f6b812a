package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// volume makes a volume that a run made a month ago and that was detached so long ago; 0: not by an unmount.
func (a *account) volume(name string, detached time.Duration, tags map[string]string) string {
	a.t.Helper()
	tags = with(map[string]string{"role": "db", "mount_point": "/" + name, "snaptastic:token": "t-" + name, "snaptastic:run": "R-" + name}, flat(tags)...)
	if detached > 0 {
		tags["snaptastic:detached"] = time.Now().Add(-detached).UTC().Format(time.RFC3339)
	}
	v, err := a.client.CreateVolume(a.t.Context(), ec2.CreateVolumeRequest{ClientToken: name, Zone: sandbox.Zone, Size: 1, Type: "gp3", Tags: tags})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.server.Sandbox.EditVolume(v.ID, func(v *sandbox.Volume) { v.Created = time.Now().Add(-30 * oneDay) }); err != nil {
		a.t.Fatal(err)
	}
	return v.ID
}

func flat(m map[string]string) (out []string) {
	for _, key := range sortedKeys(m) {
		out = append(out, key, m[key])
	}
	return out
}

func of(volume string) func(*sandbox.Snapshot) {
	return func(s *sandbox.Snapshot) { s.VolumeID = volume }
}

// newClient knows nothing of what others saw.
func (a *account) newClient() *ec2.Client {
	a.t.Helper()
	c, err := ec2.New(a.t.Context(), ec2.Config{Region: sandbox.Region, EndpointURL: a.server.URL(), MetadataURL: a.server.URL(), Credentials: ec2.Credentials{ID: "a", Secret: "b"}})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *account) there(ids ...string) {
	a.t.Helper()
	c := a.newClient()
	for _, id := range ids {
		if _, err := c.Volume(a.t.Context(), id); err != nil {
			a.t.Errorf("%s should be there: %v", id, err)
		}
	}
}

func (a *account) gone(ids ...string) {
	a.t.Helper()
	c := a.newClient()
	for _, id := range ids {
		if _, err := c.Volume(a.t.Context(), id); ec2.ClassOf(err) != ec2.NotFound {
			a.t.Errorf("%s should be gone: %v", id, err)
		}
	}
}

func TestCleanVolumesLosesNothingUnsaved(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	saved, late, lost := a.volume("saved", 9*oneDay, nil), a.volume("late", 9*oneDay, nil), a.volume("lost", 9*oneDay, nil)
	foreign := a.volume("foreign", 0, map[string]string{"snaptastic:token": "", "snaptastic:run": ""})
	a.add(8*oneDay, map[string]string{"snaptastic:state": "consistent"}, of(saved))
	a.add(9*oneDay+10*time.Minute, ours("/late", "R2", -oneDay), of(late))

	out := a.run(0, "clean", "volumes", "--yes")
	for _, why := range []string{"1 volume (of 1 GiB) to delete", "was started 10 min before it was detached", "it has no labelled snapshot"} {
		if !strings.Contains(out, why) {
			t.Errorf("it does not say %q:\n%s", why, out)
		}
	}
	a.gone(saved)
	a.there(late, lost, foreign)
	a.run(0, "clean", "volumes", "--yes", "--unsaved=5m")
	a.there(late, lost, foreign)
	a.run(0, "clean", "volumes", "--yes", "--unsaved=1h")
	a.gone(late)
	a.there(lost, foreign)
	a.run(0, "clean", "volumes", "--yes", "--unsaved")
	a.gone(lost)
	a.there(foreign)
	a.run(2, "clean", "volumes", "--yes", "--unsaved=soon")
}

// A snapshot that goes in the same clean-up saves no volume.
func TestCleanAllDoesNotCountOnWhatGoesItself(t *testing.T) {
	a := newAccount(t)
	v := a.volume("v", 9*oneDay, nil)
	s := a.add(8*oneDay, with(ours("/v", "", oneDay), "snaptastic:run", "", "snaptastic:token", ""), of(v))
	newer := a.add(time.Hour, ours("/v", "R9", -oneDay))
	a.run(0, "clean", "all", "--yes")
	a.there(v)
	a.exactly([]string{newer})
	_ = s
}

func (a *account) declare(hcl string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "snaptastic.hcl"), []byte(hcl), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func TestCleanImagesTakesOnlyWhatIsAskedFor(t *testing.T) {
	a := newAccount(t)
	image := func(age time.Duration, role string) (string, string) {
		s := a.add(age, nil)
		id, err := a.server.Sandbox.AddImage(sandbox.Image{Created: time.Now().Add(-age), Tags: sandbox.Tags{"role": {Value: role}},
			Disks: []sandbox.ImageVolume{{Device: "/dev/xvda", SnapshotID: s, Size: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		return id, s
	}
	_, db := image(9*oneDay, "db")
	_, web := image(9*oneDay, "web")
	_, young := image(time.Hour, "db")
	used, usedSnapshot := image(9*oneDay, "db")
	if _, err := a.server.Sandbox.AddInstance(sandbox.Instance{ImageID: used, Stopped: true}); err != nil {
		t.Fatal(err)
	}
	if out := a.run(2, "clean", "images", "--yes"); !strings.Contains(out, "--all-mine") {
		t.Errorf("without a word whose: %s", out)
	}
	a.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n  volume \"/dev/sdf\" {\n    mount_point = \"/a\"\n  }\n}\n")
	a.run(0, "clean", "images", "db", "--yes")
	left := []string{web, young, usedSnapshot}
	a.exactly(left)
	a.run(0, "clean", "images", "--all-mine", "--yes")
	a.exactly(left[1:])
	images, err := a.client.Images(t.Context())
	if err != nil || len(images) != 2 {
		t.Errorf("images left: %+v, %v", images, err)
	}
	_ = db
}

func TestCleanByNameTakesNobodyElses(t *testing.T) {
	a := newAccount(t)
	a.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n  volume \"/dev/sdf\" {\n    mount_point = \"/a\"\n  }\n}\n")
	a.add(9*oneDay, ours("/a", "1", oneDay))
	want := []string{a.add(time.Hour, ours("/a", "2", -oneDay)),
		a.add(9*oneDay, with(ours("/a", "3", oneDay), "role", "web")), a.add(time.Hour, with(ours("/a", "4", -oneDay), "role", "web"))}
	a.run(0, "clean", "snapshots", "db", "--yes")
	a.exactly(want)
	var dry struct {
		Decisions []struct {
			ID, Why string
			Delete  bool
		}
	}
	if err := json.Unmarshal([]byte(a.run(0, "clean", "snapshots", "--dry-run", "-o", "json")), &dry); err != nil || len(dry.Decisions) != 3 || !dry.Decisions[0].Delete || dry.Decisions[0].ID != want[1] {
		t.Errorf("dry run: %+v %v", dry, err)
	}
	var done struct{ Outcome string }
	if err := json.Unmarshal(a.stdout("clean", "snapshots", "--yes", "-o", "json"), &done); err != nil || done.Outcome != "done" {
		t.Errorf("as JSON it ends with %+v %v", done, err)
	}
	if err := json.Unmarshal(a.stdout("clean", "snapshots", "--yes", "-o", "json"), &dry); err != nil || len(dry.Decisions) != 2 {
		t.Errorf("as JSON and with nothing to do: %+v %v", dry, err)
	}
	a.run(2, "clean", "snapshots", "nobody", "--yes")
	a.run(2, "clean")
	a.run(2, "clean", "dishes")
}

func TestCleanInstancesReportsAndStopsNone(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	for i, cpu := range []float64{0.4, 4.9, 5, 80} {
		id, err := a.server.Sandbox.AddInstance(sandbox.Instance{Launched: time.Now().Add(-9 * oneDay), Tags: sandbox.Tags{"Name": {Value: fmt.Sprint("n", i)}}})
		if err == nil {
			err = a.server.Sandbox.SetCPU(id, cpu)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out := a.run(0, "clean", "instances")
	for _, want := range []string{"0.4 %", "Name=n0", "4.9 %", "no data", "2 of 5 running instances used less than 5 % CPU over the last day, no data for 1", "none was stopped"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "Name=n2") || strings.Contains(out, "Name=n3") {
		t.Errorf("it names busy ones:\n%s", out)
	}
	if out := a.run(0, "clean", "instances", "--cpu-below", "0.5"); strings.Contains(out, "4.9") || !strings.Contains(out, "0.4 %") {
		t.Errorf("below 0.5: %s", out)
	}
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}, sandbox.Fault{Action: "GetMetricStatistics", Error: "AccessDenied"}); err != nil {
		t.Fatal(err)
	}
	if out := a.run(1, "clean", "instances"); !strings.Contains(out, "cloudwatch:GetMetricStatistics") {
		t.Errorf("denied: %s", out)
	}
	if err := sandbox.SetFaults(a.sandbox(), sandbox.Latency{}, sandbox.Fault{Action: "DescribeInstances", Error: "UnauthorizedOperation"}); err != nil {
		t.Fatal(err)
	}
	a.run(0, "clean", "all", "--yes") // the report is not what it is about
	if a.deletions() != 0 {
		t.Error("something was deleted")
	}
}
