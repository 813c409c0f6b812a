package settings

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// basics are the settings that the README shows.
const basics = `aws {                                # optional: the SDK's default chain and the instance's own region otherwise
  region = "eu-west-1"
}

snapshotter "solr" {
  volume "/dev/sdf" {
    mount_point = "/mnt/solr"
    size        = 20                 # GiB; default 5
  }
}

snapshotter "postgres" {
  filter_tags  = { group = userdata.group }          # default: role, cluster, environment from userdata
  description  = "${userdata.cluster} snapshot of ${volume.mount_point}"
  expire_after = "7d"
  consistency  = "group"                             # or "volume"
  on_missing   = "create"                            # or "fail"

  dynamic "volume" {                                 # volumes from the instance's userdata
    for_each = userdata.volumes
    labels   = [volume.value.device]
    content {
      mount_point = volume.value.mount_point
      size        = volume.value.size
    }
  }

  hook "pre_mounts"  { command = ["systemctl", "stop", "postgresql"] }
  hook "post_mounts" { command = ["chown", "-R", "postgres:postgres", "/var/lib/postgresql"] }
}
`

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("snaptastic.hcl", []byte(text))
	if err != nil {
		t.Fatalf("Parse:\n%v", err)
	}
	return f
}

func spec(t *testing.T, f *File, name string, ctx Context) recipe.Spec {
	t.Helper()
	spec, err := f.Spec(name, ctx)
	if err != nil {
		t.Fatalf("Spec:\n%v", err)
	}
	return spec
}

func TestTheDocumentedExamples(t *testing.T) {
	f := parse(t, basics)
	if diff := cmp.Diff([]string{"solr", "postgres"}, f.Names()); diff != "" {
		t.Errorf("Names:\n%s", diff)
	}
	if diff := cmp.Diff(AWS{Region: "eu-west-1"}, f.AWS()); diff != "" {
		t.Errorf("AWS:\n%s", diff)
	}

	data := []byte(`{"role": "search", "cluster": "c1", "environment": "production"}`)
	want := recipe.Spec{
		Name: "solr",
		Volumes: []recipe.Volume{{
			Device: "/dev/sdf", MountPoint: "/mnt/solr", Size: 20, FileSystem: "xfs", VolumeType: "gp3",
			DeleteOnTermination: true, Description: "c1 snapshot of /mnt/solr",
		}},
		FilterTags:  map[string]string{"role": "search", "cluster": "c1", "environment": "production"},
		Consistency: "group", OnMissing: "create",
	}
	if diff := cmp.Diff(want, spec(t, f, "solr", Context{UserData: data})); diff != "" {
		t.Errorf("solr:\n%s", diff)
	}

	data = []byte(`{"group": "g", "cluster": "c2", "volumes": [
		{"device": "/dev/sdf", "mount_point": "/var/lib/postgresql", "size": 200},
		{"device": "/dev/sdg", "mount_point": "/var/lib/postgresql/wal", "size": "40"}]}`)
	want = recipe.Spec{
		Name: "postgres",
		Volumes: []recipe.Volume{{
			Device: "/dev/sdf", MountPoint: "/var/lib/postgresql", Size: 200, FileSystem: "xfs", VolumeType: "gp3",
			DeleteOnTermination: true, Description: "c2 snapshot of /var/lib/postgresql",
		}, {
			Device: "/dev/sdg", MountPoint: "/var/lib/postgresql/wal", Size: 40, FileSystem: "xfs", VolumeType: "gp3",
			DeleteOnTermination: true, Description: "c2 snapshot of /var/lib/postgresql/wal",
		}},
		FilterTags:  map[string]string{"group": "g"},
		ExpireAfter: 7 * 24 * time.Hour,
		Consistency: "group", OnMissing: "create",
		Hooks: map[string]recipe.Hook{
			"pre_mounts": {Command: []string{"systemctl", "stop", "postgresql"}, Timeout: 5 * time.Minute, Repeatable: true, OnFailure: "fail", When: "changed"},
			"post_mounts": {
				Command: []string{"chown", "-R", "postgres:postgres", "/var/lib/postgresql"},
				Timeout: 5 * time.Minute, Repeatable: true, OnFailure: "fail", When: "changed",
			},
		},
	}
	if diff := cmp.Diff(want, spec(t, f, "postgres", Context{UserData: data})); diff != "" {
		t.Errorf("postgres:\n%s", diff)
	}
}

func TestFifteenVolumesFromUserdata(t *testing.T) {
	type row struct {
		Device     string `json:"device"`
		MountPoint string `json:"mount_point"`
		Size       int    `json:"size"`
	}
	var rows []row
	for i := range 15 {
		rows = append(rows, row{"/dev/sd" + string(rune('f'+i)), "/var/lib/postgresql/9.1/part" + string(rune('a'+i)), 10 + i})
	}
	data, err := json.Marshal(map[string]any{"group": "g", "cluster": "c", "volumes": rows})
	if err != nil {
		t.Fatal(err)
	}
	got := spec(t, parse(t, basics), "postgres", Context{UserData: data})
	if len(got.Volumes) != 15 {
		t.Fatalf("got %d volumes, want 15", len(got.Volumes))
	}
	for i, v := range got.Volumes {
		if v.Device != rows[i].Device || v.MountPoint != rows[i].MountPoint || int(v.Size) != rows[i].Size ||
			v.Description != "c snapshot of "+rows[i].MountPoint {
			t.Errorf("volume %d is %+v, want %+v", i, v, rows[i])
		}
	}
}

func TestEverySettingReachesTheSpec(t *testing.T) {
	f := parse(t, `
max_hold        = "20s"
freeze_expedite = true
timeouts {
  attach = "2m"
  mkfs   = "1h"
}
snapshotter "full" {
  filter_tags = { name = upper("full"), type = instance.type, zone = instance.tags["zone"], who = env.WHO }
  description = format("%s of %s on %s, %d GiB %s %s", "copy", volume.mount_point, volume.device, volume.size, volume.file_system, volume.volume_type)
  consistency = "volume"
  on_missing  = "fail"
  max_hold    = "5s"
  copy "eu-central-1" {
    kms_key_id = "alias/there"
    max_lag    = "1d"
    keep {
      last = 2
    }
  }
  copy "us-east-1" {}
  keep {
    daily = 3
  }
  timeouts {
    snapshot = "1d"
    volume   = "1m"
    device   = "1m30s"
    detach   = "7m"
    complete = "1w"
    mkfs     = "2h"
    mount    = "9m"
  }
  volume "/dev/xvdba" {
    mount_point           = "/data/"
    size                  = "100"
    file_system           = "ext4"
    mount_options         = "defaults,noatime,context=\"a,b\""
    mkfs_options          = "-m 0 -L 'my data'"
    volume_type           = "io2"
    iops                  = 2000
    encrypted             = true
    kms_key_id            = "alias/data"
    initialization_rate   = 300
    delete_on_termination = false
    device_name_offset    = 4
  }
  volume "/dev/sdg1" {
    mount_point   = "/data/wal"
    mount_options = ["noatime", "discard"]
    mkfs_options  = ["-m", "reflink=1"]
    iops          = 4000
    throughput    = 1000
    size          = 8
    kms_key_id    = "1234abcd-12ab-34cd-56ef-1234567890ab"
  }
  hook "pre_snapshot" {
    command    = ["flush", "tables with read lock"]
    timeout    = "30s"
    repeatable = false
    on_failure = "continue"
    hold       = true
  }
  hook "post_mounts" {
    command = ["start"]
    when    = "always"
  }
}
`)
	var warnings []string
	got := spec(t, f, "full", Context{
		Instance: func() (Instance, error) {
			return Instance{ID: "i-1", Type: "m6i.large", Tags: map[string]string{"zone": "blue"}}, nil
		},
		Environ: []string{"WHO=me", "JUNK"},
		Warn:    func(w *Error) { warnings = append(warnings, w.Lines()...) },
	})
	yes := true
	want := recipe.Spec{
		Name: "full",
		Volumes: []recipe.Volume{{
			Device: "/dev/xvdba", MountPoint: "/data", Size: 100, FileSystem: "ext4",
			MountOptions: []string{"noatime", `context="a,b"`}, MkfsOptions: []string{"-m", "0", "-L", "my data"},
			VolumeType: "io2", IOPS: 2000, Encrypted: &yes, KMSKeyID: "alias/data", InitializationRate: 300,
			DeviceNameOffset: 4, Description: "copy of /data on /dev/xvdba, 100 GiB ext4 io2",
		}, {
			Device: "/dev/sdg", MountPoint: "/data/wal", Size: 8, FileSystem: "xfs",
			MountOptions: []string{"noatime", "discard"}, MkfsOptions: []string{"-m", "reflink=1"},
			VolumeType: "gp3", IOPS: 4000, Throughput: 1000, Encrypted: &yes, KMSKeyID: "1234abcd-12ab-34cd-56ef-1234567890ab",
			DeleteOnTermination: true, Description: "copy of /data/wal on /dev/sdg, 8 GiB xfs gp3",
		}},
		FilterTags: map[string]string{"name": "FULL", "type": "m6i.large", "zone": "blue", "who": "me"},
		Keep:       &snapset.Keep{Daily: 3},
		Copies: []recipe.Destination{{Region: "eu-central-1", KMSKeyID: "alias/there", MaxLag: 24 * time.Hour, Keep: &snapset.Keep{Last: 2}},
			{Region: "us-east-1", Keep: &snapset.Keep{Daily: 3}}},
		Consistency: "volume", OnMissing: "fail", MaxHold: 5 * time.Second, Expedite: true,
		Hooks: map[string]recipe.Hook{
			"pre_snapshot": {Command: []string{"flush", "tables with read lock"}, Timeout: 30 * time.Second, OnFailure: "continue", Hold: true},
			"post_mounts":  {Command: []string{"start"}, Timeout: 5 * time.Minute, Repeatable: true, OnFailure: "fail", When: "always"},
		},
		Timeouts: recipe.Timeouts{
			Snapshot: 24 * time.Hour, Volume: time.Minute, Attach: 2 * time.Minute, Device: 90 * time.Second,
			Detach: 7 * time.Minute, Complete: 7 * 24 * time.Hour, Mkfs: 2 * time.Hour, Mount: 9 * time.Minute,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec:\n%s", diff)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], `"/data/" is read as "/data"`) || !strings.Contains(warnings[1], `"/dev/sdg1" is read as "/dev/sdg"`) {
		t.Errorf("warnings are %q, want one of the mount point and one of the device", warnings)
	}
}

func TestDefaultsOfWhen(t *testing.T) {
	want := map[string]recipe.When{
		"pre_mounts": "changed", "pre_mount": "", "post_mount": "success", "post_mounts": "changed",
		"pre_unmounts": "", "pre_unmount": "", "post_unmount": "always", "post_unmounts": "always",
		"pre_snapshots": "", "pre_snapshot": "", "post_snapshot": "always", "post_snapshots": "always",
	}
	got := map[string]recipe.When{}
	for _, name := range recipe.HookNames {
		got[name] = defaultWhen(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyWhatIsMentionedIsFetched(t *testing.T) {
	f := parse(t, `
snapshotter "plain" {
  filter_tags = { name = "plain" }
  volume "/dev/sdf" { mount_point = "/a" }
}
snapshotter "zoned" {
  filter_tags = { zone = instance.availability_zone }
  volume "/dev/sdf" { mount_point = "/a" }
}
snapshotter "tagged" {
  volume "/dev/sdf" { mount_point = "/a" }
}
snapshotter "dynamic" {
  filter_tags = { name = "dynamic" }
  dynamic "volume" {
    for_each = [for v in userdata.volumes : v if v.on]
    labels   = [volume.value.device]
    content { mount_point = "/mnt/${volume.key}" }
  }
}
`)
	for name, want := range map[string]string{"plain": "", "zoned": "instance", "tagged": "userdata", "dynamic": "userdata"} {
		var asked []string
		_, err := f.Spec(name, Context{
			UserDataFunc: func() ([]byte, error) {
				asked = append(asked, "userdata")
				return []byte(`{"role":"r","cluster":"c","environment":"e","volumes":[{"on":true,"device":"/dev/sdf"},{"on":false}]}`), nil
			},
			Instance: func() (Instance, error) {
				asked = append(asked, "instance")
				return Instance{AvailabilityZone: "eu-west-1a"}, nil
			},
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(asked, " "); got != want {
			t.Errorf("%s asked for %q, want %q", name, got, want)
		}
	}
}

func TestAFailingSourceIsNoMistakeInTheFile(t *testing.T) {
	f := parse(t, basics)
	down := errors.New("metadata service does not answer")
	_, err := f.Spec("solr", Context{UserDataFunc: func() ([]byte, error) { return nil, down }})
	var mistake *Error
	if !errors.Is(err, down) || errors.As(err, &mistake) {
		t.Errorf("got %v, want the source's own error", err)
	}
	const want = "cannot get userdata, which snaptastic.hcl:5 asks for: metadata service does not answer"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestUnknownSnapshotterErrorListsTheKnownOnes(t *testing.T) {
	_, err := parse(t, basics).Spec("postgers", Context{})
	const want = `no snapshotter named "postgers": snaptastic.hcl has "solr" and "postgres"; did you mean "postgres"?`
	var unknown *UnknownSnapshotter
	if !errors.As(err, &unknown) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = parse(t, "").Spec("solr", Context{})
	if err == nil || !strings.Contains(err.Error(), "declares none") {
		t.Errorf("got %v, want a word on the missing block", err)
	}
}

func TestEnvironmentValuesAreNeverPrinted(t *testing.T) {
	f := parse(t, `
snapshotter "s" {
  filter_tags = { a = env.SECRET }
  volume "/dev/sdf" {
    mount_point = env.SECRET
    size        = "${env.SECRET}x"
    kms_key_id  = [for name in ["SECRET"] : env[name]][0]
    iops        = env[upper("secret")]
  }
}
`)
	secret := strings.Repeat("hunter2", 60)
	_, err := f.Spec("s", Context{Environ: []string{"SECRET=" + secret}})
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the value of an environment variable is printed:\n%v", err)
	}
}
