package recipe

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var target = Target{InstanceID: "i-0123456789abcdef0", Region: "eu-west-1", Zone: "eu-west-1a", AccountID: "123456789012"}

func volume(letter, mountPoint string) Volume {
	return Volume{Device: "/dev/sd" + letter, MountPoint: mountPoint, Size: 20, FileSystem: "xfs", VolumeType: "gp3",
		DeleteOnTermination: true, Description: "main snapshot of " + mountPoint, Warm: &Warm{}}
}

func spec(mountPoints ...string) Spec {
	s := Spec{Name: "solr", FilterTags: map[string]string{"role": "search", "cluster": "main"}, Consistency: "group", OnMissing: "create",
		ExpireAfter: 7 * 24 * time.Hour}
	for i, mp := range mountPoints {
		s.Volumes = append(s.Volumes, volume(string(rune('f'+i)), mp))
	}
	return s
}

func three() Spec { return spec("/mnt/a", "/mnt/b", "/mnt/c") }

func compile(op string, s Spec, t Target, o Options) (*plan.Plan, error) {
	known, _ := Named(op)
	r := Request{Spec: s, Target: t, Options: o, Spares: []string{"/dev/sdp", "/dev/sdo", "/dev/sdn"}}
	if known.Elsewhere {
		r.Spec.Copies, r.CopyFrom = []Destination{{Region: "eu-central-1"}}, t.Region
		for i, set := range []string{"R2/token-2", "R1/token-1"} {
			r.Copies = append(r.Copies, copyOf("eu-central-1", set, i, s))
		}
		r.Copies = append(r.Copies, copyOf("us-east-1", "R2/token-2", 0, s))
		r.Copies[2].KMSKeyID, r.Copies[1].Expires = "alias/there", time.Date(2026, 12, 1, 3, 0, 0, 0, time.UTC)
		NameCopies(r.Copies)
		if len(s.ShareWith) > 0 { // and the first set of another account
			r.Copies[0].From, r.Copies[0].Owner = "eu-west-1", "333333333333"
			r.Shares = append(r.Shares, NewSetShare(snapset.WholeSet{Set: r.Copies[1].Set, Members: r.Copies[1].Members}))
		}
	}
	return known.Plan(r)
}

// copyOf is a set of the spec to copy, so many days old.
func copyOf(region, set string, days int, s Spec) SetCopy {
	c := SetCopy{CopyDecision: snapset.CopyDecision{Region: region, Set: set, DataTime: time.Date(2026, 11, 27-days, 3, 0, 0, 0, time.UTC), Copy: true, Size: len(s.Volumes)}}
	for i, v := range s.Volumes {
		c.Members = append(c.Members, ec2.Snapshot{ID: fmt.Sprintf("snap-%d%d", days, i), VolumeSize: v.Size, Description: v.Description,
			Tags: map[string]string{"role": "search", snapset.TagMountPoint: v.MountPoint, snapset.TagFilterKeys: "role"}})
	}
	return c
}

// hooked has every hook, with the defaults of the settings file.
func hooked(s Spec) Spec {
	s.Hooks = map[string]Hook{}
	for _, name := range HookNames {
		h := Hook{Command: []string{"/usr/local/bin/" + name}, Timeout: 5 * time.Minute, Repeatable: true, OnFailure: "fail"}
		if strings.HasPrefix(name, "post_") {
			h.When = "success"
			if !strings.Contains(name, "_mount") {
				h.When = "always"
			}
		}
		s.Hooks[name] = h
	}
	return s
}

func with(s Spec, change func(*Spec)) Spec {
	change(&s)
	return s
}

func TestPlansAreAsWrittenDown(t *testing.T) {
	cases := []struct {
		name    string
		op      string
		spec    Spec
		options Options
	}{
		{"mount-1", "mount", spec("/mnt/solr"), Options{}},
		{"mount-2-set", "mount", spec("/mnt/a", "/mnt/b"), Options{Set.Name: "R1"}},
		{"mount-1-before", "mount", spec("/mnt/a"), Options{Before.Name: "2026-11-20T00:00:00Z"}},
		{"restore-1", "restore", spec("/mnt/solr"), Options{}},
		{"restore-3-hooks", "restore", hooked(three()), Options{Set.Name: "R1"}},
		{"restore-nested", "restore", with(spec("/mnt/a/b", "/mnt/a"), func(s *Spec) { s.Consistency = "volume" }), Options{}},
		{"mount-3", "mount", three(), Options{}},
		{"mount-3-hooks", "mount", hooked(three()), Options{}},
		{"mount-2-hooks-always", "mount", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) {
			for name, h := range s.Hooks {
				if h.When == "success" {
					h.When = "always"
					s.Hooks[name] = h
				}
			}
		}), Options{}},
		{"mount-2-hooks-changed", "mount", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) {
			for _, name := range []string{"pre_mounts", "pre_mount", "post_mount", "post_mounts"} {
				h := s.Hooks[name]
				h.When = Changed
				s.Hooks[name] = h
			}
		}), Options{}},
		{"mount-nested", "mount", spec("/mnt/a/b/c", "/mnt/a", "/mnt/other"), Options{"ignore-mounted": true}},
		{"snapshot-1", "snapshot", spec("/mnt/solr"), Options{}},
		{"snapshot-3", "snapshot", three(), Options{"wait": true}},
		{"snapshot-2-clean", "snapshot", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) {
			s.CleanAfter, s.Keep, s.ExpireAfter = true, &snapset.Keep{Daily: 7, Timezone: "Europe/Berlin"}, time.Hour
		}), Options{"wait": true}},
		{"snapshot-2-volume-clean", "snapshot", with(spec("/mnt/a", "/mnt/b"), func(s *Spec) { s.Consistency = "volume" }), Options{"clean": true}},
		{"snapshot-2-lock", "snapshot", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) { s.Lock = &Lock{Mode: Governance, Days: 14} }), Options{"clean": true}},
		{"snapshot-2-share", "snapshot", with(spec("/mnt/a", "/mnt/b"), func(s *Spec) { s.ShareWith = []string{"222222222222"} }), Options{}},
		{"copy-2-share", "copy", with(spec("/mnt/a", "/mnt/b"), func(s *Spec) { s.ShareWith = []string{"222222222222"} }), Options{}},
		{"snapshot-2-volume-lock", "snapshot", with(spec("/mnt/a", "/mnt/b"), func(s *Spec) {
			s.Consistency, s.Lock = "volume", &Lock{Mode: Compliance, Days: 30, CoolOff: 24}
		}), Options{}},
		{"snapshot-3-hooks", "snapshot", hooked(three()), Options{}},
		{"snapshot-2-hooks-volume", "snapshot", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) { s.Consistency = "volume" }), Options{}},
		{"snapshot-2-armed", "snapshot", hooked(spec("/mnt/a", "/mnt/b")), Options{"at": "2026-11-28T12:00:00.5Z", "hold-until": "2026-11-28T12:00:03Z"}},
		{"snapshot-1-part", "snapshot", with(spec("/mnt/a"), func(s *Spec) { s.CleanAfter = true }), Options{"set": "nightly-42", "members": "6", "defer-label": true}},
		{"snapshot-2-held", "snapshot", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) {
			for _, name := range []string{"pre_snapshots", "pre_snapshot"} {
				h := s.Hooks[name]
				h.Hold, h.Repeatable, h.OnFailure = true, false, "continue"
				s.Hooks[name] = h
			}
		}), Options{}},
		{"unmount-1", "unmount", spec("/mnt/solr"), Options{}},
		{"unmount-3-hooks", "unmount", hooked(three()), Options{}},
		{"unmount-2-volume", "unmount", with(spec("/mnt/a", "/mnt/b"), func(s *Spec) { s.Consistency = "volume" }), Options{}},
		{"verify-1", "verify", spec("/mnt/solr"), Options{}},
		{"verify-3", "verify", with(spec("/mnt/a/b", "/mnt/a", "/mnt/other"), func(s *Spec) {
			s.Drill = Drill{Probe: []string{"/etc/probe"}, Timeout: time.Hour, Check: CheckMount}
		}), Options{}},
		{"mount-2-wait", "mount", with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) { s.Volumes[1].Warm = nil }), Options{"wait": true}},
		{"warm-1", "warm", spec("/mnt/solr"), Options{}},
		{"warm-3", "warm", with(hooked(spec("/mnt/a/b", "/mnt/a", "/mnt/other")), func(s *Spec) {
			s.Volumes[0].Warm, s.Volumes[1].Warm = &Warm{First: []string{"pg_wal/**", "base/**"}, Rate: 100}, nil
		}), Options{}},
		{"copy-1", "copy", spec("/mnt/solr"), Options{}},
		{"copy-2", "copy", spec("/mnt/a", "/mnt/b"), Options{}},
		{"unmount-nested", "unmount", spec("/mnt/a", "/mnt/a/b", "/mnt/a/b/c"), Options{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := compile(c.op, c.spec, target, c.options)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, c.name+".txt", outline(p))
		})
	}
}

// TestAPlanIsStoredAsItWas holds the whole JSON of one plan: its names are read by other versions of the program.
func TestAPlanIsStoredAsItWas(t *testing.T) {
	for _, op := range Names() {
		p, err := compile(op, hooked(spec("/mnt/solr")), target, map[bool]Options{true: {"wait": true}}[op == "snapshot"])
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, op+".json", append(raw, '\n'))
		if _, err := plan.Decode(raw); err != nil {
			t.Errorf("the stored plan is not read back: %v", err)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff.Diff(path, want, "got", got); d != nil {
		t.Errorf("the plan differs from its golden file (go test -update rewrites it):\n%s", d)
	}
}

// outline shows a plan as a person thinks of it: what comes after what.
func outline(p *plan.Plan) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s on %s, resumes: %s", p.Operation, p.Snapshotter, p.Instance, p.ResumePolicy)
	if p.UndoOnFailure {
		b.WriteString(", undone on failure")
	}
	b.WriteString("\n")
	for _, l := range p.Lanes {
		fmt.Fprintf(&b, "lane %s claims %s\n", l.ID, strings.Join(l.Claims, " "))
	}
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "\n%s (%s)", s.ID, s.Title)
		words := []string{string(s.Scope)}
		for word, on := range map[string]bool{"read-only": s.ReadOnly, "once": s.Once, "tolerated": s.Tolerated, "plan-level": s.Lane == ""} {
			if on {
				words = append(words, word)
			}
		}
		slices.Sort(words[1:])
		fmt.Fprintf(&b, " [%s; %s]\n", strings.Join(words, ", "), time.Duration(s.Timeout))
		if len(s.Needs) > 0 {
			fmt.Fprintf(&b, "  needs   %s\n", join(s.Needs))
		}
		for _, h := range s.Held {
			fmt.Fprintf(&b, "  holds   %s %s: %q\n", h.Hook, h.Of, h.Command)
		}
		if len(s.Settled) > 0 {
			fmt.Fprintf(&b, "  settled %s\n", join(s.Settled))
		}
	}
	for _, sec := range p.Sections {
		fmt.Fprintf(&b, "\nsection %s (%s)\n  open  %s\n  body  %s\n  close %s\n", sec.ID, sec.Kind, sec.Open, join(sec.Body), join(sec.Close))
	}
	return []byte(b.String())
}

func join(steps []plan.StepID) string {
	var words []string
	for _, s := range steps {
		words = append(words, string(s))
	}
	return strings.Join(words, " ")
}

// What was labelled once may be the newest that can be restored.
func TestNoUndoDestroysALabelledSnapshot(t *testing.T) {
	for _, consistency := range []Consistency{ByGroup, ByVolume} {
		p, err := compile("snapshot", with(three(), func(s *Spec) { s.Consistency = consistency }), target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Steps {
			lane, _ := strings.CutPrefix(string(s.ID), "snapshot")
			if s.Kind == "snapshot" && s.KeptBy != plan.StepID("tag-snapshots"+lane) {
				t.Errorf("%s: %s is kept by %q", consistency, s.ID, s.KeptBy)
			}
		}
	}
}

func TestTheSameSpecGivesTheSamePlan(t *testing.T) {
	for _, op := range Names() {
		digests := map[string]bool{}
		for range 50 { // maps are walked in another order each time
			p, err := compile(op, hooked(three()), target, Options{})
			if err != nil {
				t.Fatal(err)
			}
			digests[p.Digest()] = true
		}
		if len(digests) != 1 {
			t.Errorf("%s: %d different plans of one spec", op, len(digests))
		}
	}
}

func TestInvalidSpecsAreRefused(t *testing.T) {
	held := with(hooked(three()), func(s *Spec) {
		s.Consistency = "volume"
		h := s.Hooks["pre_snapshots"]
		h.Hold = true
		s.Hooks["pre_snapshots"] = h
	})
	cases := []struct {
		op   string
		spec Spec
		want string
	}{
		{"mount", Spec{Name: "empty"}, "it declares no volume"},
		{"snapshot", held, "cannot be held across separate freezes"},
		{"mount", spec("/mnt/a", "/mnt/a"), "declared twice"},
		{"copy", spec("/mnt/a"), "no account but this one to share with"},
	}
	for _, c := range cases {
		op, _ := Named(c.op)
		if _, err := op.Plan(Request{Spec: c.spec, Target: target}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %q: %v, want %q", c.op, c.spec.Name, err, c.want)
		}
	}
	if _, err := compile("mount", held, target, Options{}); err != nil {
		t.Errorf("a hook of another operation keeps mount from compiling: %v", err)
	}
}

func TestAMountPointWithBlanksGivesAnIDWithoutAny(t *testing.T) {
	p, err := compile("mount", spec("/mnt/my data%"), target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.ID == "mount:/mnt/my%20data%25" }) {
		t.Errorf("no step mount:/mnt/my%%20data%%25 in %s", outline(p))
	}
}

// after says whether step a comes, by any path of edges, after step b.
func after(p *plan.Plan, a, b plan.StepID) bool {
	for _, s := range p.Steps {
		if s.ID != a {
			continue
		}
		for _, d := range slices.Concat(s.Needs, s.Settled) {
			if d == b || after(p, d, b) {
				return true
			}
		}
	}
	return false
}

func TestHooksRunInTheOriginalsOrder(t *testing.T) {
	const a, b = ":/mnt/a", ":/mnt/b"
	for _, consistency := range []Consistency{ByGroup, ByVolume} {
		s := with(hooked(spec("/mnt/a", "/mnt/b")), func(s *Spec) { s.Consistency = consistency })
		plans := map[string]*plan.Plan{}
		for _, op := range Names() {
			p, err := compile(op, s, target, Options{})
			if err != nil {
				t.Fatal(err)
			}
			plans[op] = p
		}
		freeze, thaw := plan.StepID("freeze"), plan.StepID("thaw")
		if consistency == "volume" {
			freeze, thaw = "freeze"+a, "thaw"+a
		}
		for op, order := range map[string][]plan.StepID{
			"mount":    {"hook:pre_mounts", "hook:pre_mount" + a, "create-volume" + a, "mount" + a, "grow" + a, "hook:post_mount" + a, "hook:post_mounts"},
			"snapshot": {"hook:pre_snapshots", "hook:pre_snapshot" + a, "sync" + a, freeze, thaw, "hook:post_snapshot" + a, "hook:post_snapshots"},
			"unmount":  {"hook:pre_unmounts", "hook:pre_unmount" + a, "unmount" + a, "detach" + a, "wait-detached" + a, "hook:post_unmount" + a, "hook:post_unmounts"},
		} {
			for i := 1; i < len(order); i++ {
				if !after(plans[op], order[i], order[i-1]) {
					t.Errorf("%s, %s: %s does not come after %s", op, consistency, order[i], order[i-1])
				}
			}
		}
		if group := after(plans["snapshot"], freeze, "hook:pre_snapshot"+b); group != (consistency == "group") {
			t.Errorf("%s: freezing %s waits for the pre hook of the other: %t", consistency, freeze, group)
		}
	}
}

// No volume of a group is unmounted before nothing uses any of them, and none is detached before all are unmounted. Whatever
// the hooks stop, they have stopped before the check.
func TestAGroupIsUnmountedTogetherOrNotAtAll(t *testing.T) {
	for _, hooks := range []bool{false, true} {
		s := spec("/mnt/a", "/mnt/a/b", "/mnt/c")
		if hooks {
			s = hooked(s)
		}
		p, err := compile("unmount", s, target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !p.UndoOnFailure {
			t.Error("what was unmounted is not mounted again when another volume cannot be")
		}
		for _, v := range s.Volumes {
			if !after(p, "check-in-use", id("find-volume", v)) || hooks && !after(p, "check-in-use", id("hook:pre_unmount", v)) {
				t.Errorf("the check does not come after the hooks of %s", v.MountPoint)
			}
			if !after(p, id("unmount", v), "check-in-use") {
				t.Errorf("%s is unmounted before the check", v.MountPoint)
			}
			for _, o := range s.Volumes {
				if !after(p, id("detach", v), id("unmount", o)) {
					t.Errorf("%s may be detached while %s is mounted", v.MountPoint, o.MountPoint)
				}
			}
		}
		for _, step := range p.Steps {
			if want := step.Kind == "unmount"; step.Commits != want {
				t.Errorf("%s commits: %t", step.ID, step.Commits)
			}
		}
	}
	for _, alone := range []Spec{spec("/mnt/a"), with(three(), func(s *Spec) { s.Consistency = "volume" })} {
		p, err := compile("unmount", alone, target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range alone.Volumes {
			if p.UndoOnFailure || !after(p, id("unmount", v), id("check-in-use", v)) {
				t.Errorf("%s does not go by itself after a check of its own", v.MountPoint)
			}
		}
	}
}

func TestLanesAreIndependent(t *testing.T) {
	for _, op := range []string{"mount", "unmount"} {
		s := hooked(three())
		if op == "unmount" { // a group's volumes go together
			s.Consistency = "volume"
		}
		p, err := compile(op, s, target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		lanes := map[plan.StepID]string{}
		for _, s := range p.Steps {
			lanes[s.ID] = s.Lane
		}
		for _, s := range p.Steps {
			for _, d := range s.Needs {
				if s.Lane != "" && lanes[d] != "" && lanes[d] != s.Lane {
					t.Errorf("%s: %s of lane %s needs %s of lane %s", op, s.ID, s.Lane, d, lanes[d])
				}
			}
		}
	}
}
