package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2/sandbox"
	"snaptastic/steps/recipe"
)

// policy is docs/iam-policy.json.
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid, Effect      string
	Action, Resource words
	Condition        map[string]map[string]words
}

// words are one string or several.
type words []string

func (w *words) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

func readPolicy(t *testing.T) policy {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs/iam-policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var p policy
	if err := d.Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p policy) actions() []string {
	all := map[string]bool{}
	for _, s := range p.Statement {
		for _, a := range s.Action {
			all[a] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// services are IAM's names of those that the sandbox stands for. STS is not
// among them: everybody may ask who he is.
var services = map[string]string{"ec2": "ec2", "monitoring": "cloudwatch", "cloudwatch": "cloudwatch"}

// used are the actions of calls; dry says whether of dry runs, or of the others.
func used(calls []sandbox.Call, dry bool) []string {
	all := map[string]bool{}
	for _, c := range calls {
		service, billed := services[c.Service]
		if c.Action == "GetMetricStatistics" {
			service, billed = "cloudwatch", true
		}
		if billed && (c.Params["DryRun"] == "true") == dry {
			all[service+":"+c.Action] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

const policySettings = `
snapshotter "db" {
  filter_tags  = { role = "db" }
  expire_after = "1s"
  volume "/dev/sdf" {
    mount_point = "DIR/mnt/a"
    size        = 1
    file_system = "ext4"
  }
  volume "/dev/sdg" {
    mount_point = "DIR/mnt/b"
    size        = 1
    file_system = "ext4"
  }
  copy "eu-central-1" {}
}
snapshotter "one" {
  filter_tags = { role = "one" }
  share_with = ["222222222222"]
  lock {
    for = "1d"
  }
  volume "/dev/sdh" {
    mount_point = "DIR/mnt/c"
    size        = 1
    file_system = "ext4"
  }
}
`

// The policy holds every action that the commands use, and no other; and a
// sandbox that enforces it lets through what they do.
func TestThePolicyIsMinimal(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.declare(strings.ReplaceAll(policySettings, "DIR", r.dir))
	r.restrict(false)
	r.everyCommand()
	p := readPolicy(t)
	if got, want := used(r.calls(), false), p.actions(); !slices.Equal(got, want) {
		t.Errorf("the commands use\n  %s\nand the policy has\n  %s", strings.Join(got, " "), strings.Join(want, " "))
	}
	for _, c := range r.calls() {
		if c.Service == "ec2" {
			p.letsThrough(t, c)
		}
	}
	tried := slices.DeleteFunc(p.actions(), func(a string) bool { return !strings.HasPrefix(a, "ec2:") })
	if got := used(r.calls(), true); !slices.Equal(got, tried) {
		t.Errorf("doctor tries\n  %s\nand the policy has\n  %s", strings.Join(got, " "), strings.Join(tried, " "))
	}
}

// What the operations say that they need is what the policy has.
func TestOperationsNeedWhatThePolicyHas(t *testing.T) {
	needs := []string{"cloudwatch:GetMetricStatistics"} // of a report that no plan has
	for action := range recipe.Permissions(append(recipe.Operations(), recipe.CleanUps()...)) {
		needs = append(needs, "ec2:"+action)
	}
	slices.Sort(needs)
	if want := readPolicy(t).actions(); !slices.Equal(needs, want) {
		t.Errorf("the operations need\n  %s\nand the policy has\n  %s", strings.Join(needs, " "), strings.Join(want, " "))
	}
}

// everyCommand uses each command in each way that leads to another call.
func (r *rig) everyCommand() {
	r.t.Helper()
	r.must("plan", "mount", "db")
	r.must("run", "mount", "db")
	r.must("run", "mount", "one")
	r.must("run", "snapshot", "db")
	r.must("run", "snapshot", "one", "--wait")
	r.must("run", "copy", "db")
	for _, words := range [][]string{{"volumes", "db"}, {"snapshots", "db"}, {"check", "one"}, {"doctor"}, {"status"}, {"runs"}, {"resume"}} {
		r.must(words...)
	}
	// An unmount that fails for one volume and is rolled back: attached and untagged again.
	r.setFaults(sandbox.Fault{Action: "DetachVolume", Params: map[string]string{"VolumeId": r.volumes()[r.dir+"/mnt/b"].ID}, Error: "OperationNotPermitted"})
	if code, out := r.run("run", "unmount", "db"); code != exitSomeLanes {
		r.t.Fatalf("the unmount ends with %d\n%s", code, out)
	}
	r.setFaults()
	r.must("rollback", r.unfinished()[0])
	// A snapshot that cannot be labelled is deleted.
	r.setFaults(sandbox.Fault{Action: "CreateTags", Error: "TagLimitExceeded"})
	if code, out := r.run("run", "snapshot", "one"); code != exitFailed {
		r.t.Fatalf("the snapshot ends with %d\n%s", code, out)
	}
	r.setFaults()
	// A restore, a rollback of it, and one that cannot attach.
	r.must("run", "restore", "one")
	r.must("rollback", r.lastOf("restore"))
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded", Count: 1})
	if code, out := r.run("run", "restore", "one"); code != exitFailed {
		r.t.Fatalf("the restore ends with %d\n%s", code, out)
	}
	r.setFaults()
	r.must("run", "unmount", "one")
	// A mount that cannot attach is undone, volume and all.
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded"})
	if code, out := r.run("run", "mount", "one", "--on-failure=rollback"); code != exitFailed {
		r.t.Fatalf("the mount ends with %d\n%s", code, out)
	}
	r.setFaults()
	w := r.openSandbox()
	held := r.snapshots()[0].ID
	if _, err := w.AddImage(sandbox.Image{Created: time.Now().Add(-240 * time.Hour), Disks: []sandbox.ImageVolume{{Device: "/dev/xvda", SnapshotID: held, Size: 1}}}); err != nil {
		r.t.Fatal(err)
	}
	r.must("clean", "images", "--all-mine")
	for _, what := range []string{"volumes", "snapshots", "instances", "all"} {
		r.must("clean", what)
	}
}

// restrict makes the sandbox enforce docs/iam-policy.json, and be strict on demand.
func (r *rig) restrict(strict bool) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs/iam-policy.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	policy, err := sandbox.ParsePolicy(text)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := sandbox.Restrict(r.sandboxDir(), strict, policy); err != nil {
		r.t.Fatal(err)
	}
}

var (
	specTag = regexp.MustCompile(`^TagSpecification\.\d+\.Tag\.\d+\.Key$`)
	callTag = regexp.MustCompile(`^Tag\.\d+\.Key$`)
)

// letsThrough fails when no statement's condition on the request's own tags
// fits the call. What is on the resource cannot be seen in a log.
func (p policy) letsThrough(t *testing.T, c sandbox.Call) {
	t.Helper()
	var given, keys []string
	for name, value := range c.Params {
		if specTag.MatchString(name) {
			given = append(given, value)
		}
		if callTag.MatchString(name) {
			keys = append(keys, value)
		}
	}
	for _, s := range p.Statement {
		if slices.Contains(s.Action, "ec2:"+c.Action) && s.Effect == "Allow" && s.fits(given, keys) {
			if _, makes := s.Condition["StringLike"]["aws:RequestTag/snaptastic:token"]; makes || !strings.HasPrefix(c.Action, "Create") || c.Action == "CreateTags" {
				return
			}
		}
	}
	t.Errorf("no statement lets %s through with the tags %v %v", c.Action, given, keys)
}

func (s statement) fits(given, keys []string) bool {
	for operator, conditions := range s.Condition {
		for key, values := range conditions {
			tag, onRequest := strings.CutPrefix(key, "aws:RequestTag/")
			switch {
			case onRequest && !slices.Contains(given, tag):
				return false
			case key == "ec2:CreateAction":
				return false // of the tags that come with a create, which is no call of its own
			case operator == "ForAllValues:StringEquals" && slices.ContainsFunc(keys, func(k string) bool { return !slices.Contains(values, k) }):
				return false
			case operator == "ForAllValues:StringNotEquals" && slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(values, k) }):
				return false
			}
		}
	}
	return true
}

// What EC2 takes for a policy is short: 6144 characters without blanks.
func TestThePolicyFits(t *testing.T) {
	p := readPolicy(t)
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 6144 || p.Version != "2012-10-17" {
		t.Errorf("it has %d characters, version %q", len(text), p.Version)
	}
	seen := map[string]bool{}
	for _, s := range p.Statement {
		if seen[s.Sid] || s.Effect != "Allow" || len(s.Action) == 0 || len(s.Resource) == 0 || !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(s.Sid) {
			t.Errorf("this statement is not right: %+v", s)
		}
		seen[s.Sid] = true
	}
}

// With an action refused, a run names it before it has changed anything: no
// hook has run, no volume is made, nothing is frozen or unmounted, and there
// is not a run to be repaired.
func TestARunNamesTheActionThatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	hook := "  hook \"pre_HOOKs\" { command = [\"touch\", \"" + r.dir + "/hooked\"] }\n"
	for _, op := range []string{"mount", "snapshot", "unmount"} {
		policySettings := strings.ReplaceAll(policySettings, "DIR", r.dir)
		r.declare(strings.ReplaceAll(policySettings, "snapshotter \"db\" {\n", "snapshotter \"db\" {\n"+strings.ReplaceAll(hook, "HOOK", op)))
		for _, action := range map[string][]string{
			"mount":    {"DescribeVolumes", "DescribeSnapshots", "CreateVolume", "AttachVolume", "ModifyInstanceAttribute"},
			"snapshot": {"DescribeVolumes", "CreateSnapshots"},
			"unmount":  {"DescribeVolumes", "CreateTags", "DetachVolume"},
		}[op] {
			t.Run(op+" without "+action, func(t *testing.T) {
				rt := *r
				rt.t = t
				rt.setFaults(sandbox.Fault{Action: action, Error: "UnauthorizedOperation"})
				defer rt.setFaults()
				before, mounted := len(rt.calls()), rt.mounted()
				code, out := rt.run("run", op, "db")
				if code != exitFailed || !strings.Contains(out, "allow ec2:"+action+" in the IAM policy") {
					t.Errorf("it ends with %d\n%s", code, out)
				}
				if did := mutating(rt.calls()[before:]); len(did) > 0 {
					t.Errorf("it has made %v\n%s", did, out)
				}
				if now := rt.mounted(); !slices.Equal(now, mounted) {
					t.Errorf("mounted are %v and were %v", now, mounted)
				}
				if strings.Contains(out, "frozen") {
					t.Errorf("it has frozen:\n%s", out)
				}
				if _, err := os.Stat(filepath.Join(r.dir, "hooked")); err == nil {
					t.Error("a hook has run")
				}
				if left := rt.unfinished(); len(left) > 0 {
					t.Errorf("unfinished runs: %v", left)
				}
			})
			_ = os.Remove(filepath.Join(r.dir, "hooked"))
		}
		r.must("run", op, "db")
		_ = os.Remove(filepath.Join(r.dir, "hooked"))
	}
}

// What is tried on a thing that does not exist may be refused for a tag that
// the thing does not have: that keeps no run from trying.
func TestADoubtfulRefusalStopsNoRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Params: map[string]string{"DryRun": "true"}, Error: "UnauthorizedOperation",
		Message: "You are not authorized to perform this operation. User: x is not authorized to perform: ec2:AttachVolume on resource: arn:aws:ec2:eu-west-1:1:volume/vol-00000000000000000"})
	r.must("run", "mount", "db")
}
