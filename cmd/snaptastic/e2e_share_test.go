package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
	"snaptastic/steps/snapset"
)

var vault = sandbox.World{Account: "222222222222", Region: sandbox.Region}

// shared mounts and shares one set of what is written, and returns its manifest.
func (r *rig) shared(text string) (manifest string) {
	r.t.Helper()
	r.copying(`  share_with = ["222222222222"]`)
	r.must("run", "mount", "db")
	r.writeAll(text)
	r.must("run", "snapshot", "db", "--wait")
	return r.manifest()
}

func (r *rig) manifest() string {
	r.t.Helper()
	file := filepath.Join(r.dir, "manifest.json")
	r.must("snapshots", "db", "--manifest", file)
	return file
}

// A set is shared, copied by the other account with its manifest, and mounted there from the copy, although the first account
// has lost its own.
func TestAnotherAccountCopiesASharedSet(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying("")
	r.must("run", "mount", "db")
	r.writeAll("monday")
	r.must("run", "snapshot", "db", "--wait")
	file := filepath.Join(r.dir, "manifest.json")
	if code, out := r.run("snapshots", "db", "--manifest", file); code != exitFailed || !strings.Contains(out, "share_with") {
		t.Errorf("nothing is shared: exit %d\n%s", code, out)
	}
	r.copying(`  share_with = ["222222222222", "333333333333"]`)
	if code, out := r.run("snapshots", "db", "--manifest", file); code != exitFailed || !strings.Contains(out, "run copy db") {
		t.Errorf("the set is not shared yet: exit %d\n%s", code, out)
	}
	r.must("run", "copy", "db") // the set of before
	before := count(r.calls())["ModifySnapshotAttribute"]
	r.quiet(func() {
		if out := r.must("run", "copy", "db"); !strings.Contains(out, "nothing to share") {
			t.Errorf("all is shared, and it says\n%s", out)
		}
	})
	if n := count(r.calls())["ModifySnapshotAttribute"]; before != 2 || n != before {
		t.Errorf("two snapshots took %d calls, and then %d", before, n)
	}
	r.writeAll("tuesday")
	r.must("run", "snapshot", "db", "--wait") // shares by itself
	r.manifest()
	printed := r.must("snapshots", "db", "--manifest", "-")
	if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != strings.TrimSpace(printed) {
		t.Errorf("%v: the file says\n%s\nand stdout\n%s", err, text, printed)
	}
	var document any
	if err := json.Unmarshal([]byte(printed), &document); err != nil {
		t.Fatal(err)
	}
	if wrong := readJSONPage(t).problems("manifest", "[manifest]", document); len(wrong) > 0 {
		t.Error(wrong)
	}
	r.must("run", "unmount", "db")

	r.mustElsewhere(vault, "run", "copy", "db", "--from", file)
	if n := r.wholeSets(vault); n != 1 {
		t.Fatalf("%d sets are copied, want the one of the manifest", n)
	}
	original := map[string]string{}
	for _, s := range r.snapshots() {
		original[s.ID] = s.Tags[snapset.TagSet]
	}
	for _, c := range r.snapshotsIn(vault) {
		mark := strings.Split(c.Tags[snapset.TagCopy], "/")
		if c.OwnerID != vault.Account || c.Tags[snapset.TagSet] != original[mark[len(mark)-1]] || c.Tags["role"] != "db" {
			t.Errorf("the copy is %+v", c)
		}
	}
	if out := r.mustElsewhere(vault, "run", "copy", "db", "--from", file); !strings.Contains(out, "nothing to copy") {
		t.Errorf("it is copied, and it says\n%s", out)
	}
	for _, s := range r.snapshots() {
		if err := r.client.DeleteSnapshot(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	r.mustElsewhere(vault, "run", "mount", "db")
	r.readAll("tuesday")
	r.mustElsewhere(vault, "run", "unmount", "db")
}

// Where each volume is snapshotted by itself, a manifest has a set of each: without one the volume would be new and blank there.
func TestAnotherAccountCopiesTheSetOfEachVolume(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying("  consistency = \"volume\"\n  share_with = [\"222222222222\"]")
	r.must("run", "mount", "db")
	for _, text := range []string{"monday", "tuesday"} {
		r.writeAll(text)
		r.must("run", "snapshot", "db", "--wait")
	}
	file := r.manifest()
	var m snapset.Manifest
	if text, err := os.ReadFile(file); err != nil || json.Unmarshal(text, &m) != nil || len(m.Sets()) != 2 {
		t.Fatalf("%v: the manifest has not a set of each volume:\n%s", err, text)
	}
	r.must("run", "unmount", "db")
	r.mustElsewhere(vault, "run", "copy", "db", "--from", file)
	if n := len(r.snapshotsIn(vault)); n != 2 {
		t.Errorf("%d snapshots are copied, want the newest of each volume", n)
	}
	r.mustElsewhere(vault, "run", "mount", "db")
	r.readAll("tuesday")
	r.mustElsewhere(vault, "run", "unmount", "db")

	m.Also[0].Members = m.Members
	text, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if code, out := r.elsewhere(vault, "run", "copy", "db", "--from", file); err != nil || code == 0 || !strings.Contains(out, "twice") {
		t.Errorf("%v: a volume in two sets: exit %d\n%s", err, code, out)
	}
}

// The copy block of its own region says which copies of another account's sets an account keeps: with copy_from, a clean-up there goes by it.
func TestAnotherAccountKeepsWhatItsCopyBlockSays(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	share := `  share_with = ["222222222222"]`
	r.copying(share)
	r.must("run", "mount", "db")
	var file string
	for range 2 {
		r.must("run", "snapshot", "db", "--wait")
		file = r.manifest()
		r.mustElsewhere(vault, "run", "copy", "db", "--from", file)
	}
	keep := fmt.Sprintf("  copy %q {\n    keep {\n      last = 1\n    }\n  }", vault.Region)
	r.copying(share + "\n" + keep)
	r.must("clean", "snapshots", "db", "--yes")
	if n := len(r.snapshots()); n != 2 {
		t.Errorf("%d of the own snapshots are left; a block of the own region does nothing", n)
	}
	r.copying(share + "\n  copy_from = " + strconv.Quote(file) + "\n" + keep)
	if out := r.mustElsewhere(vault, "clean", "snapshots", "--dry-run"); !strings.Contains(out, "no rule keeps it") && !strings.Contains(out, "DELETE") {
		t.Errorf("without a name all copies are kept:\n%s", out)
	}
	r.mustElsewhere(vault, "clean", "snapshots", "db", "--yes")
	if n := r.wholeSets(vault); n != 1 {
		t.Errorf("%d copied sets are left, want the newest", n)
	}
}

// Killed under way, the copy of another account's set is finished by the next run: no member twice.
func TestACopyFromAnotherAccountThatIsKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	file := r.shared("monday")
	r.must("run", "unmount", "db")
	r.faultsIn(vault, `{"latency": {"copy": "2s"}, "faults": [{"action": "CopySnapshot", "reset": "after", "count": 1}]}`)
	cmd := r.elsewhereCommand(vault, "run", "copy", "db", "--from", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("two copies", func() bool { return len(r.snapshotsIn(vault)) >= 2 })
	time.Sleep(100 * time.Millisecond)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	r.mustElsewhere(vault, "run", "copy", "db", "--from", file)
	if n := r.wholeSets(vault); n != 1 {
		t.Errorf("%d sets, want 1", n)
	}
}

// A manifest that is not of what is shared copies nothing and labels nothing, and the message says why.
func TestAManifestThatIsNotTrue(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	file := r.shared("monday")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r.must("run", "snapshot", "db", "--wait") // another set, shared as well
	known := map[string]bool{}
	var good snapset.Manifest
	if err := json.Unmarshal(text, &good); err != nil {
		t.Fatal(err)
	}
	for _, m := range good.Members {
		known[m.SnapshotID] = true
	}
	other := ""
	for _, s := range r.snapshots() {
		if !known[s.ID] && s.Tags[snapset.TagMountPoint] == good.Members[0].MountPoint {
			other = s.ID
		}
	}
	r.must("run", "unmount", "db")
	secret := r.aSecretSnapshot()
	cases := map[string]struct {
		change func(*snapset.Manifest)
		want   string
	}{
		"not shared":     {func(m *snapset.Manifest) { m.Members[0].SnapshotID = secret }, "does not share it with this account"},
		"missing":        {func(m *snapset.Manifest) { m.Members[0].SnapshotID = "snap-00000000000000000" }, "does not exist any more"},
		"of another set": {func(m *snapset.Manifest) { m.Members[0].SnapshotID = other }, "it is of another set"},
		"wrong owner":    {func(m *snapset.Manifest) { m.Owner = "333333333333" }, "it belongs to account"},
		"own account":    {func(m *snapset.Manifest) { m.Owner = vault.Account }, "belongs to this account"},
		"for others":     {func(m *snapset.Manifest) { m.SharedWith = []string{"333333333333"} }, "this account is 222222222222"},
		"wrong size":     {func(m *snapset.Manifest) { m.Members[0].Size++ }, "the manifest says"},
		"filter tags":    {func(m *snapset.Manifest) { m.FilterTags["role"] = "web" }, "set filter_tags"},
		"twice":          {func(m *snapset.Manifest) { m.Members[1] = m.Members[0] }, "twice"},
		"mount point":    {func(m *snapset.Manifest) { m.Members[0].MountPoint = "/elsewhere" }, "add a volume block"},
		"a set's name":   {func(m *snapset.Manifest) { m.Set = "a\nb" }, "expected the identity of a set"},
		"schema":         {func(m *snapset.Manifest) { m.Schema = 2 }, "same version of Snaptastic"},
	}
	for name, c := range cases {
		var m snapset.Manifest
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		c.change(&m)
		changed, err := json.Marshal(m)
		if err == nil {
			err = os.WriteFile(file, changed, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if code, out := r.elsewhere(vault, "run", "copy", "db", "--from", file); code == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d; it does not say %q:\n%s", name, code, c.want, out)
		} else if _, hint, _ := strings.Cut(out, "hint: "); strings.Contains(hint, "--manifest FILE --") {
			t.Errorf("%s: the other account is told this one's flags:\n%s", name, hint)
		}
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, out := r.elsewhere(vault, "run", "copy", "db", "--from", file); code == 0 || !strings.Contains(out, "chmod") {
		t.Errorf("everybody may write it: exit %d\n%s", code, out)
	}
	if left := r.snapshotsIn(vault); len(left) > 0 {
		t.Errorf("there are %+v", left)
	}
}

// EC2 does not share what is encrypted with the default key: the set stays labelled, and the message says what to do.
func TestASetWithTheDefaultKeyIsNotShared(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	declare := func(key string) {
		r.declare("snapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n  share_with = [\"222222222222\"]\n" +
			strings.TrimSuffix(strings.TrimSpace(r.volume(0, "ext4")), "}") + "\n    encrypted = true\n" + key + "  }\n}\n")
	}
	declare("")
	r.must("run", "mount", "db")
	r.writeAll("monday")
	code, out := r.run("run", "snapshot", "db", "--wait")
	if code != exitSomeLanes || !strings.Contains(out, "default key") || !strings.Contains(out, "kms_key_id") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if n := r.wholeSets(sandbox.World{Account: sandbox.Account, Region: sandbox.Region}); n != 1 {
		t.Errorf("%d labelled sets, want 1", n)
	}
	if code, out := r.run("run", "copy", "db"); code != exitFailed || !strings.Contains(out, "customer managed key") {
		t.Errorf("exit %d\n%s", code, out)
	}
	declare("    kms_key_id = \"alias/backups\"\n")
	r.must("run", "restore", "db") // encrypts it with the other key
	r.must("run", "snapshot", "db", "--wait")
	file := r.manifest()
	r.must("run", "unmount", "db")
	r.mustElsewhere(vault, "run", "copy", "db", "--from", file)
	r.mustElsewhere(vault, "run", "mount", "db")
	r.readAll("monday")
	r.mustElsewhere(vault, "run", "unmount", "db")
}

// aSecretSnapshot is one that is shared with nobody.
func (r *rig) aSecretSnapshot() string {
	r.t.Helper()
	id, err := r.client.CopySnapshot(r.t.Context(), ec2.CopySnapshotRequest{SourceID: r.snapshots()[0].ID, SourceRegion: sandbox.Region})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}
