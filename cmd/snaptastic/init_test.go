package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/cmd/internal/engine"
	"snaptastic/ec2/sandbox"
)

// adopts checks that the settings in file are valid, and that a mount with them would change nothing.
func (r *rig) adopts(file, name string, mounts ...string) {
	r.t.Helper()
	if code, out := r.run("validate", file); code != exitDone {
		r.t.Fatalf("what init wrote is not valid (%d): %s", code, out)
	}
	code, stdout, stderr := r.apart(r.command("--settings", file, "-o", "json", "plan", "mount", name))
	if code != exitDone {
		r.t.Fatalf("plan mount ends with %d\n%s%s", code, stdout, stderr)
	}
	var p struct {
		Lanes []struct{ ID string }
		Steps []struct{ Kind, Action, Text string }
	}
	if err := json.Unmarshal([]byte(stdout), &p); err != nil {
		r.t.Fatal(err)
	}
	adopted := 0
	for _, s := range p.Steps {
		switch s.Action {
		case "adopt":
			adopted++
		case "read", "none", "skip":
		default:
			r.t.Errorf("the mount would %s: %s %s", s.Action, s.Kind, s.Text)
		}
	}
	if len(p.Lanes) != len(mounts) || adopted == 0 {
		r.t.Errorf("the plan has %d lanes and adopts %d, want %v\n%s", len(p.Lanes), adopted, mounts, stdout)
	}
}

// init describes what is attached and mounted, and what cannot be described, so that a mount with it changes nothing.
func TestInitDescribesWhatIsMounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	r.must("run", "mount", "db")
	if out, err := exec.Command("umount", r.mounts[1]).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chown(r.mounts[2], 12345, 0); err != nil {
		t.Fatal(err)
	}
	w := r.openSandbox()
	blank, err := w.AddVolume("/dev/sdp", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Its name is no role's.
	if err := w.SetInstanceTags(map[string]string{"Name": "db-1", "team": "${storage}", "aws:autoscaling:groupName": "x"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "new.hcl")
	var out string
	r.quiet(func() { out = r.must("init", file) })
	for _, want := range []string{"wrote " + file + ": snapshotter db with " + r.mounts[0] + ", " + r.mounts[2], "left out " + blank + " (/dev/sdp): not mounted",
		r.volumes()[r.mounts[1]].ID + " (/dev/sdg): not mounted", "plan mount db", "--settings " + file} {
		if !strings.Contains(out, want) {
			t.Errorf("init does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, r.settings) { // the last --settings counts
		t.Errorf("the commands to type next are for another file:\n%s", out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`    role = "db"`, `    mount_point = "` + r.mounts[2] + `"`, `    owner       = "12345"`, "# " + r.volumes()[r.mounts[0]].ID} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("the settings do not have %q:\n%s", want, text)
		}
	}
	r.adopts(file, "db", r.mounts[0], r.mounts[2])
	// What is there stays there, unless --force says otherwise.
	if code, out := r.run("init", file); code != exitUsage || !strings.Contains(out, "it exists") || !strings.Contains(out, "--force") {
		t.Errorf("init over a file ends with %d\n%s", code, out)
	}
	r.must("init", file, "--force", "--name", "other")
	r.adopts(file, "other", r.mounts[0], r.mounts[2])
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), `snapshotter "other"`) {
		t.Errorf("--force and --name have no effect:\n%s", text)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, ".snaptastic-*")); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
	if code, stdout, _ := r.apart(r.command("init", "-")); code != exitDone || !strings.HasPrefix(stdout, "# Written by") {
		t.Errorf("init - ends with %d and prints\n%s", code, stdout)
	}
	if code, out := r.run("init", filepath.Join(r.dir, "none", "x.hcl")); code != exitFailed || strings.Contains(out, ".snaptastic-") {
		t.Errorf("init into a folder that does not exist ends with %d\n%s", code, out)
	}
}

// Volumes that Snaptastic has never seen get the instance's tags as filter tags, and the commands that tag them. With these
// tags they are adopted.
func TestInitSaysHowToTagWhatIsNotTagged(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	w := r.openSandbox()
	odd := filepath.Join(r.dir, "mnt", `it's "${odd}"`)
	file := filepath.Join(r.dir, "new.hcl")
	if code, out := r.run("init", file); code != exitFailed || !strings.Contains(out, "no volume is attached besides the root volume") {
		t.Errorf("init with nothing to describe ends with %d\n%s", code, out)
	}
	places := map[string]string{"/dev/sdf": r.mounts[0], "/dev/sdg": odd, "/dev/sdh": filepath.Join(r.dir, "mnt", "a,b")}
	ids := map[string]string{}
	for device, place := range places {
		id, err := w.AddVolume(device, 1, map[string]string{"Name": "by hand"})
		if err != nil {
			t.Fatal(err)
		}
		ids[device] = id
		if err := os.MkdirAll(place, 0o755); err != nil {
			t.Fatal(err)
		}
		tool(t, "mkfs.ext4", "-q", r.node(id))
		if out, err := exec.Command("mount", "-o", "noatime", r.node(id), place).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("umount", place).Run() })
	}
	if err := w.SetInstanceTags(map[string]string{"Name": "db-1", "role": `d'b`, "cluster": "${blue}", "cost": "7"}); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := r.apart(r.command("init", file, "--name", "db", "-o", "json"))
	var d engine.Draft
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || code != exitDone {
		t.Fatalf("%d, %v: %s%s", code, err, stdout, stderr)
	}
	if len(d.MountPoints) != 2 || len(d.TagCommands) != 2 || len(d.LeftOut) != 1 || !strings.Contains(d.LeftOut[0].Reason, "comma") {
		t.Fatalf("unexpected draft %+v", d)
	}
	// The commands are ready for a shell: what they would tag is what the plan needs.
	aws := filepath.Join(r.dir, "bin", "aws")
	if err := os.MkdirAll(filepath.Dir(aws), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(aws, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range d.TagCommands {
		cmd := exec.Command("sh", "-c", c)
		cmd.Env = []string{"PATH=" + filepath.Dir(aws) + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", c, err, out)
		}
		words := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
		if strings.Join(words[:3], " ") != "ec2 create-tags --resources" || words[4] != "--tags" {
			t.Fatalf("unexpected command %q", words)
		}
		if err := w.EditVolume(words[3], func(v *sandbox.Volume) {
			for _, tag := range words[5:] {
				key, value, _ := strings.Cut(strings.TrimPrefix(tag, "Key="), ",Value=")
				v.Tags[key] = sandbox.TagValue{Value: value}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	r.adopts(file, "db", r.mounts[0], odd)
	text, _ := os.ReadFile(file)
	for _, want := range []string{`cluster = "$${blue}"`, `role    = "d'b"`, `mount_options         = "noatime"`, "#   aws ec2 create-tags"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the settings do not have %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "cost") {
		t.Errorf("a tag that identifies nothing is a filter tag:\n%s", text)
	}
	// Now that they are tagged, there is nothing left to say.
	if out := r.must("init", file, "--force"); strings.Contains(out, "create-tags") {
		t.Errorf("tagged volumes are to be tagged:\n%s", out)
	}
}

// Without an instance it is said where init has to run.
func TestInitWithoutAnInstance(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	cmd := r.bare("--state-dir", r.state(), "--metadata-url", "http://127.0.0.1:1", "--endpoint-url", "http://127.0.0.1:1", "init", "--timeout", "1s", filepath.Join(r.dir, "x.hcl"))
	cmd.Env = append(cmd.Env, "AWS_REGION=eu-west-1")
	code, _, stderr := r.apart(cmd)
	if code != exitFailed || !strings.Contains(stderr, "run init on the instance") {
		t.Errorf("init without an instance ends with %d\n%s", code, stderr)
	}
	oneSentence(t, stderr)
}
