package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

const repository = "../.."

// usualUserdata is what the original asked for.
const usualUserdata = `{"role": "db", "cluster": "c1", "environment": "test"`

// example makes a rig of an example of the repository: its paths are moved
// below the rig's folder, and nothing else is changed.
func example(t *testing.T, path, userdata string) *rig {
	t.Helper()
	r := newRig(t, 0, "xfs")
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	r.declare(r.moved(string(text)))
	if err := r.openSandbox().SetUserData(r.moved(userdata)); err != nil {
		t.Fatal(err)
	}
	r.env = append(r.env, "PATH="+filepath.Join(r.dir, "bin")+":"+os.Getenv("PATH"))
	return r
}

func (r *rig) moved(text string) string {
	return strings.NewReplacer("/mnt/", r.dir+"/mnt/", "/var/lib/", r.dir+"/mnt/lib/", "/etc/init.d/", r.dir+"/bin/").Replace(text)
}

// standIn puts a program in front of PATH. It writes its name and arguments
// into the diary, on one line, and how many of the rig's volumes are mounted; then more.
func (r *rig) standIn(name, more string) {
	r.t.Helper()
	r.program(name, fmt.Sprintf("set -f; echo $(basename $0) $* \"[$(grep -c ' %s/mnt/' /proc/self/mounts)]\" | sed 's#%s/mnt##g' >>%s/diary\n%s", r.dir, r.dir, r.dir, more))
}

// program puts a script in front of PATH.
func (r *rig) program(name, script string) {
	r.t.Helper()
	dir := filepath.Join(r.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// standInLog takes what stand-ins wrote.
func (r *rig) standInLog() []string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "diary"))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(r.dir, "diary"))
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(string(b)), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "systemctl is-active") // the program's own question
	})
}

func (r *rig) expect(what string, want ...string) {
	r.t.Helper()
	if got := r.standInLog(); !slices.Equal(got, want) {
		r.t.Errorf("%s: the programs were\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// own are the snapshotter's volumes, by mount point.
func (r *rig) own(tags map[string]string) map[string]ec2.Volume {
	r.t.Helper()
	vs, err := r.client.VolumesByTag(context.Background(), tags)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]ec2.Volume{}
	for _, v := range vs {
		out[strings.TrimPrefix(v.Tags["mount_point"], r.dir)] = v
	}
	return out
}

// roundTrip mounts, writes, snapshots, unmounts, loses the volumes, mounts
// again and finds what was written.
func (r *rig) roundTrip(name string, tags map[string]string, between func(stage string)) {
	r.t.Helper()
	r.must("run", "mount", name)
	between("mount")
	r.mounts = r.mounted()
	for _, m := range r.mounts {
		if err := os.WriteFile(filepath.Join(m, "precious"), []byte(m), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.must("run", "snapshot", name)
	between("snapshot")
	r.must("run", "unmount", name)
	between("unmount")
	if left := r.mounted(); len(left) > 0 {
		r.t.Errorf("still mounted: %v", left)
	}
	for _, v := range r.own(tags) {
		if err := r.client.DeleteVolume(context.Background(), v.ID); err != nil {
			r.t.Error(err)
		}
	}
	r.must("run", "mount", name)
	between("restore")
	for _, m := range r.mounts {
		if b, err := os.ReadFile(filepath.Join(m, "precious")); err != nil || string(b) != m {
			r.t.Errorf("%s lost its data: %q, %v", m, b, err)
		}
	}
	for _, v := range r.own(tags) {
		if v.SnapshotID == "" {
			r.t.Errorf("%s was not restored from a snapshot", v.Tags["mount_point"])
		}
	}
}

// Each example of the original, in our words, makes the volumes that it made,
// under the tags that it wrote.
func TestTheOriginalsExamples(t *testing.T) {
	t.Parallel()
	usual := map[string]string{"role": "db", "cluster": "c1", "environment": "test"}
	type want struct {
		device, fileSystem, kind string
		size, iops               int32
	}
	for _, tt := range []struct {
		file, name, userdata string
		tags                 map[string]string
		volumes              map[string]want
	}{
		{"settings", "solr", "", usual, map[string]want{"/mnt/solr": {"/dev/sdf", "xfs", "gp3", 20, 3000}}},
		{"test", "test", "", usual, map[string]want{"/mnt/test2": {"/dev/sdf", "xfs", "gp3", 5, 3000}}},
		{"simple", "simple_example", "", usual, map[string]want{"/mnt/index": {"/dev/sdf", "xfs", "gp3", 200, 3000}}},
		{"solr", "solr_example", "", usual, map[string]want{"/mnt/index": {"/dev/sdf", "xfs", "gp3", 200, 3000}}},
		{"filter", "filter_example", "", map[string]string{"cluster": "c1"}, map[string]want{"/mnt/test": {"/dev/sdf", "xfs", "gp3", 5, 3000}}},
		{"userdata", "userdata_example", `, "volumes": [
			{"device": "/dev/sdf1", "mount_point": "/var/lib/postgresql/9.1/main", "size": 200},
			{"device": "/dev/sdg", "mount_point": "/var/lib/postgresql/9.1/index01", "iops": 100},
			{"device": "/dev/sdh", "mount_point": "/mnt/index", "size": 7, "file_system": "ext4"}]`, usual, map[string]want{
			"/mnt/lib/postgresql/9.1/main":    {"/dev/sdf", "xfs", "gp3", 200, 3000},
			"/mnt/lib/postgresql/9.1/index01": {"/dev/sdg", "xfs", "io1", 5, 100},
			"/mnt/index":                      {"/dev/sdh", "ext4", "gp3", 7, 3000},
		}},
		{"volumes", "volumes_example", "", usual, map[string]want{
			"/mnt/lib/postgresql/9.1/main": {"/dev/sdf", "xfs", "gp3", 200, 3000},
			"/mnt/lib/postgresql/9.1/fast": {"/dev/sdg", "xfs", "io1", 200, 1600},
			"/mnt/lib/postgresql/9.1/ext4": {"/dev/sdh", "ext4", "gp3", 200, 3000},
		}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			r := example(t, "examples/original/"+tt.file+".hcl", usualUserdata+tt.userdata+"}")
			r.roundTrip(tt.name, tt.tags, func(stage string) {
				if stage != "mount" {
					return
				}
				got := r.own(tt.tags)
				if len(got) != len(tt.volumes) {
					t.Errorf("it has %d volumes, want %d", len(got), len(tt.volumes))
				}
				for m, w := range tt.volumes {
					v := got[m]
					if v.ID == "" || len(v.Attachments) != 1 {
						t.Errorf("there is no volume for %s", m)
						continue
					}
					is := want{v.Attachments[0].Device, r.fileSystem(r.dir + m), v.Type, v.Size, v.IOPS}
					if is != w {
						t.Errorf("%s is %+v, want %+v", m, is, w)
					}
					if !v.Attachments[0].DeleteOnTermination {
						t.Errorf("%s does not go with its instance", m)
					}
				}
			})
			for _, s := range r.snapshots() {
				for key := range tt.tags {
					if s.Tags[key] != tt.tags[key] {
						t.Errorf("snapshot %s has %s = %q", s.ID, key, s.Tags[key])
					}
				}
				for _, key := range []string{"instance_id", "mount_point", "created"} {
					if s.Tags[key] == "" {
						t.Errorf("snapshot %s has no tag %s", s.ID, key)
					}
				}
				if strings.Contains(s.Description, "snapshot of") != true {
					t.Errorf("it is described as %q", s.Description)
				}
			}
		})
	}
}

func (r *rig) fileSystem(mount string) string {
	r.t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[1] == mount {
			return f[2]
		}
	}
	return ""
}

// postgresUID is whom the stand-in of chown takes for postgres.
const postgresUID = 54321

// The original's fifteen volumes: PostgreSQL is stopped before any of them is
// mounted, and its folders are its own after all of them are.
func TestTheOriginalsPostgresExample(t *testing.T) {
	t.Parallel()
	r := example(t, "examples/original/postgres.hcl", usualUserdata+"}")
	r.standIn("postgresql", "")
	r.standIn("chown", fmt.Sprintf("for last; do :; done; exec /bin/chown -R %d:%d \"$last\"", postgresUID, postgresUID))
	tags := map[string]string{"role": "db", "cluster": "c1", "environment": "test"}
	r.roundTrip("postgres_example", tags, func(stage string) {
		switch stage {
		case "mount", "restore":
			r.expect(stage, "postgresql stop [0]", "chown -R postgres:postgres /lib/postgresql [15]")
			if n := len(r.mounted()); n != 15 {
				t.Errorf("after the %s %d volumes are mounted", stage, n)
			}
			for _, m := range r.mounted() {
				fi, err := os.Stat(m)
				if err != nil {
					t.Fatal(err)
				}
				if st := fi.Sys().(*syscall.Stat_t); st.Uid != postgresUID || fi.Mode().Perm() != 0o700 {
					t.Errorf("after the %s %s is uid %d's, mode %04o", stage, m, st.Uid, fi.Mode().Perm())
				}
			}
		default:
			r.expect(stage, "")
		}
		if stage == "snapshot" {
			if n := count(r.calls())["CreateSnapshots"]; n != 1 {
				t.Errorf("%d calls for the set, want 1", n)
			}
		}
	})
	if snaps := r.snapshots(); len(snaps) != 15 {
		t.Errorf("there are %d snapshots", len(snaps))
	}
}

// mysqlStandIn holds its lock as long as its input is open.
const mysqlStandIn = `
say() { echo "$1 $(date +%s%N)" >>"$(dirname $0)/../lock"; }
case "$*" in *"READ LOCK"*"ready"*"system cat"*) say lock; echo ready ;; esac
cat >/dev/null
say unlock`

// The examples for databases, each with stand-ins for its programs.
func TestDatabaseExamples(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, userdata            string
		tags                      map[string]string
		mount, snapshot, unmount  []string
		programs                  map[string]string
		mountPoints, chownedRoots int
	}{
		{file: "postgres", userdata: "@examples/postgres.userdata.json", tags: map[string]string{"group": "main-database"}, mountPoints: 15, chownedRoots: 15,
			programs: map[string]string{"systemctl": "", "runuser": ""},
			mount:    []string{"systemctl stop postgresql [0]", "systemctl start postgresql [15]"},
			snapshot: []string{"runuser -u postgres -- psql -c CHECKPOINT [15]"},
			unmount:  []string{"systemctl stop postgresql [15]"}},
		{file: "mysql", userdata: usualUserdata + "}", tags: map[string]string{"role": "db"}, mountPoints: 2, chownedRoots: 2,
			programs: map[string]string{"systemctl": "", "mysql": mysqlStandIn},
			mount:    []string{"systemctl stop mysql [0]", "systemctl start mysql [2]"},
			snapshot: []string{"mysql --user=root --protocol=socket --batch --skip-column-names --unbuffered --skip-reconnect --execute " +
				"SET SESSION lock_wait_timeout = 5; FLUSH TABLES WITH READ LOCK; SELECT 'ready'; system cat >/dev/null UNLOCK TABLES; [2]"},
			unmount: []string{"systemctl stop mysql [2]"}},
		{file: "solr", userdata: usualUserdata + "}", tags: map[string]string{"role": "db"}, mountPoints: 1, chownedRoots: 1,
			programs: map[string]string{"systemctl": "", "curl": ""},
			mount:    []string{"systemctl stop solr [0]", "systemctl start solr [1]"},
			snapshot: []string{"curl --silent --show-error --fail http://localhost:8983/solr/products/update?commit=true [1]"},
			unmount:  []string{"systemctl stop solr [1]"}},
		{file: "mongodb", userdata: usualUserdata + "}", tags: map[string]string{"role": "db"}, mountPoints: 2, chownedRoots: 2,
			programs: map[string]string{"systemctl": "", "mongosh": ""},
			mount:    []string{"systemctl stop mongod [0]", "systemctl start mongod [2]"},
			snapshot: []string{"mongosh --quiet --eval db.fsyncLock() [2]", "mongosh --quiet --eval db.fsyncUnlock() [2]"},
			unmount:  []string{"systemctl stop mongod [2]"}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			userdata := tt.userdata
			if name, is := strings.CutPrefix(userdata, "@"); is {
				b, err := os.ReadFile(filepath.Join(repository, name))
				if err != nil {
					t.Fatal(err)
				}
				userdata = string(b)
			}
			r := example(t, "examples/"+tt.file+".hcl", userdata)
			r.firstEmpty()
			for name, more := range tt.programs {
				r.standIn(name, more)
			}
			chowned := filepath.Join(r.dir, "chowned")
			r.program("chown", "for last; do :; done; echo \"$last\" >>"+chowned+"; exec /bin/chown "+fmt.Sprint(postgresUID)+" \"$last\"")
			r.roundTrip(map[string]string{"postgres": "postgres"}[tt.file]+strings.TrimPrefix(tt.file, "postgres"), tt.tags, func(stage string) {
				switch stage {
				case "mount", "restore":
					r.expect(stage, tt.mount...)
					if n := len(r.mounted()); n != tt.mountPoints {
						t.Errorf("%d volumes are mounted, want %d", n, tt.mountPoints)
					}
					b, _ := os.ReadFile(chowned)
					_ = os.Remove(chowned)
					if n := strings.Count(string(b), "\n"); n != tt.chownedRoots {
						t.Errorf("%d folders were given to the database, want %d: %s", n, tt.chownedRoots, b)
					}
				case "snapshot":
					r.expect(stage, tt.snapshot...)
				case "unmount":
					r.expect(stage, tt.unmount...)
				}
			})
			if tt.file == "mysql" {
				r.lockedThroughout()
			}
		})
	}
}

// firstEmpty lets a snapshotter that insists on a snapshot start without one.
func (r *rig) firstEmpty() {
	text, err := os.ReadFile(r.settings)
	if err != nil {
		r.t.Fatal(err)
	}
	r.declare(strings.ReplaceAll(string(text), `on_missing = "fail"`, `on_missing = "create"`))
}

// lockedThroughout holds the lock's times against the call that snapshots.
func (r *rig) lockedThroughout() {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "lock"))
	if err != nil {
		r.t.Fatal(err)
	}
	var what [2]string
	var at [2]int64
	if n, err := fmt.Sscan(string(b), &what[0], &at[0], &what[1], &at[1]); n != 4 || strings.Count(string(b), "\n") != 2 || what != [2]string{"lock", "unlock"} {
		r.t.Fatalf("the lock's diary is %q (%v)", b, err)
	}
	i := slices.IndexFunc(r.calls(), func(c sandbox.Call) bool { return c.Action == "CreateSnapshots" && c.Params["DryRun"] == "" })
	taken := r.calls()[i].Time
	if !time.Unix(0, at[0]).Before(taken) || !time.Unix(0, at[1]).After(taken) {
		r.t.Errorf("locked from %s to %s, snapshotted at %s", time.Unix(0, at[0]), time.Unix(0, at[1]), taken)
	}
}

var testName = regexp.MustCompile(`Test[A-Za-z0-9]+(/[a-z-]+)?`)

// Each row of docs/porting.md's tables names a test that there is.
func TestEachRowOfPortingNamesItsTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs/porting.md"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("grep", "-rhoE", "--include=*_test.go", "^func Test[A-Za-z0-9]+", repository).Output()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		there[strings.TrimSpace(strings.TrimPrefix(line, "func "))] = true
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(strings.TrimSpace(cells[0]), "original") {
			continue
		}
		rows++
		names := testName.FindAllString(cells[len(cells)-1], -1)
		if len(cells) != 3 || len(names) == 0 {
			t.Errorf("this row names no test: %s", line)
		}
		for _, name := range names {
			function, script, _ := strings.Cut(name, "/")
			if !there[function] {
				t.Errorf("there is no %s, which this row names: %s", function, line)
			}
			if function != "TestTranscripts" {
				continue
			}
			if _, err := os.Stat(filepath.Join("testdata", "script", script+".txtar")); err != nil {
				t.Errorf("there is no transcript %q: %s", script, line)
			}
		}
	}
	if rows < 60 {
		t.Errorf("the tables have %d rows only", rows)
	}
}

// A snapshot that the original made has its tags and no label. It is found by
// its cron line's own words, and restored with what is on it.
func TestTheOriginalsSnapshotsAndFlags(t *testing.T) {
	t.Parallel()
	r := example(t, "examples/original/settings.hcl", "")
	const userdata = `--userdata={"role": "solr", "cluster": "solr", "environment": "aws"}`
	tags := map[string]string{"role": "solr", "cluster": "solr", "environment": "aws"}
	quietly := func(args ...string) string {
		t.Helper()
		cmd := r.command(append([]string{userdata, "--log-level", "error"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("snaptastic %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		if strings.Contains(string(out), "[INFO]") || strings.Contains(string(out), "[WARN]") {
			t.Errorf("it logs what it was told not to:\n%s", out)
		}
		return string(out)
	}
	quietly("mount-snapshots", "solr")
	precious := filepath.Join(r.dir, "mnt/solr/helloworld")
	if err := os.WriteFile(precious, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	quietly("make-snapshots", "solr")
	made := r.snapshots()
	if len(made) != 1 || made[0].Tags["expires"] == "" {
		t.Fatalf("snapshots are %+v", made)
	}
	for m, v := range r.own(tags) {
		if v.Tags["expires"] != "" || v.Tags["created"] == "" {
			t.Errorf("the volume of %s has the tags %v", m, v.Tags)
		}
	}
	// As the original would have left it: naive dates of some zone, no tag of ours.
	zone := made[0].Started.UTC().Add(-7 * time.Hour)
	theirs := map[string]string{"role": "solr", "cluster": "solr", "environment": "aws", "instance_id": "i-12345678",
		"mount_point": r.dir + "/mnt/solr", "created": zone.Format("2006-01-02 15:04:05.000000"), "expires": zone.AddDate(0, 0, 7).Format("2006-01-02 15:04:05.000000")}
	if err := r.client.DeleteTags(context.Background(), []string{made[0].ID}, slices.Collect(maps.Keys(made[0].Tags))); err != nil {
		t.Fatal(err)
	}
	if err := r.client.CreateTags(context.Background(), []string{made[0].ID}, theirs); err != nil {
		t.Fatal(err)
	}
	quietly("unmount-snapshots", "solr")
	for _, v := range r.own(tags) {
		if err := r.client.DeleteVolume(context.Background(), v.ID); err != nil {
			t.Fatal(err)
		}
	}
	if out := quietly("mount-snapshots", "solr"); !strings.Contains(out, "restored from "+made[0].ID) {
		t.Errorf("it does not say that %s was restored:\n%s", made[0].ID, out)
	}
	if b, err := os.ReadFile(precious); string(b) != "hello" {
		t.Errorf("what was written is %q, %v", b, err)
	}

	// Another's volume under the device name is an error, or ignored.
	before := len(r.calls())
	other := `--userdata={"role": "other", "cluster": "solr", "environment": "aws"}`
	if code, out := r.run(other, "mount-snapshots", "solr"); code == 0 || !strings.Contains(out, "/dev/sdf") {
		t.Errorf("over a volume of somebody else's it ends with %d\n%s", code, out)
	}
	if code, out := r.run(other, "mount-snapshots", "--ignore-mounted", "solr"); code != 0 {
		t.Errorf("--ignore-mounted ends with %d\n%s", code, out)
	}
	if did := mutating(r.calls()[before:]); len(did) > 0 {
		t.Errorf("it made %v", did)
	}
}

// Userdata whose devices share a letter stays as it is: the comment in the
// example says how each gets a letter of its own.
func TestNumberedDevicesOfUserdataGetALetterEach(t *testing.T) {
	t.Parallel()
	r := example(t, "examples/original/userdata.hcl", usualUserdata+`, "volumes": [
		{"device": "/dev/sdf1", "mount_point": "/mnt/a"}, {"device": "/dev/sdf2", "mount_point": "/mnt/b"}]}`)
	text, err := os.ReadFile(r.settings)
	if err != nil {
		t.Fatal(err)
	}
	if code, out := r.run("plan", "mount", "userdata_example"); code != exitUsage || !strings.Contains(out, "each volume needs a letter of its own") {
		t.Errorf("as it is, it ends with %d\n%s", code, out)
	}
	said := regexp.MustCompile(`labels = \[.*\)}"\]`).FindString(string(text))
	r.declare(strings.Replace(string(text), "labels   = [volume.value.device]", said, 1))
	out := r.must("plan", "mount", "userdata_example")
	if !strings.Contains(out, "attach as /dev/sdf") || !strings.Contains(out, "attach as /dev/sdg") {
		t.Errorf("%s\n%s", said, out)
	}
}
