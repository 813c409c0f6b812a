package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// An incident is a section of a guide whose blocks are typed after something has happened: before[i] brings about what the
// section's block i, of those with commands, begins with.
type incident struct {
	heading string
	before  []func(*story)
}

// A machine is where incidents happen, one after the other, in the order of the table.
type machine struct {
	guide, snapshotter string
	folders            []string // mount points below /mnt, as the guide has it
	more               string   // settings of the snapshotter; HOOK stands for a program that takes a while
	incidents          []incident
}

var machines = map[string]machine{
	"mounts": {"operations", "solr", []string{"index", "logs"}, "", []incident{
		{"Resume after a crash at boot", []func(*story){(*story).creating, (*story).crash, nil, (*story).available}},
		{"Roll back", []func(*story){func(s *story) {
			s.must("run", "snapshot", "solr")
			s.must("run", "unmount", "solr")
			s.interruptMount()
		}}},
		{"Abandon", []func(*story){(*story).interruptMount}},
		{"One volume failed to mount", []func(*story){(*story).unexpectedVolume, (*story).detachUnexpected}},
		{"Unmount: volume in use", []func(*story){(*story).use}},
		{"Unmount: interrupted", []func(*story){(*story).interruptUnmount}},
	}},
	"snapshots": {"operations", "solr", []string{"index", "logs"}, "  max_hold = \"50s\"\n  keep { daily = 2 }\n", []incident{
		{"Frozen file systems", []func(*story){(*story).leaveFrozen}},
		{"Killed during a snapshot", []func(*story){(*story).killSnapshot}},
		{"Keep by rules", []func(*story){(*story).week}},
	}},
	"role": {"operations", "solr", []string{"solr"}, "", []incident{
		{"Permissions", []func(*story){(*story).denied}},
	}},
	"old": {"operations", "solr", []string{"solr"}, "  expire_after = \"7d\"\n", []incident{
		{"Clean up", []func(*story){(*story).growOld}},
	}},
	"hook": {"operations", "solr", []string{"solr"}, "  hook \"post_mounts\" {\n    command = [\"HOOK\"]\n    repeatable = false\n  }\n", []incident{
		{"Hook with unknown result", []func(*story){(*story).crashInHook, nil}},
	}},
	"migration": {"restoring", "postgres", []string{"postgres"}, "", []incident{
		{"Restore", []func(*story){func(s *story) { s.must("run", "mount", "postgres") }, nil}},
	}},
	"drill": {"restoring", "postgres", []string{"postgres"}, "  verify { probe = [\"HOOK\"] }\n", []incident{
		{"RTO and RPO", []func(*story){func(s *story) {
			s.must("run", "mount", "postgres")
			s.must("run", "snapshot", "postgres")
		}}},
	}},
	"accounts": {"restoring", "db", []string{"db"}, "  share_with = [\"222222222222\"]\n", []incident{
		{"Other accounts", []func(*story){(*story).shareAndMove}},
	}},
}

// A story is what happens to a machine.
type story struct {
	*rig
	machine
	world      sandbox.World     // in which the blocks are typed
	process    *exec.Cmd         // that still runs, between two blocks
	unexpected string            // volume
	named      map[string]string // what the guide calls something, and what it is here
}

// The incidents of the guides show what these say: each is brought about, and its blocks are typed then.
func TestTheIncidentsOfTheGuides(t *testing.T) {
	t.Parallel()
	typed := map[string]int{}
	for name, m := range machines {
		guide := document(t, "docs/"+m.guide+".md")
		for _, i := range m.incidents {
			typed[m.guide] += len(commandBlocks(ownPart(t, guide, i.heading)))
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, m)
			for _, i := range m.incidents {
				s.happens(ownPart(t, guide, i.heading), i)
			}
			s.filesAreTold()
		})
	}
	// TestTheOperationsGuide types what is left of the other one.
	if all := len(commandBlocks(document(t, "docs/restoring.md"))); typed["restoring"] != all {
		t.Errorf("%d of the %d blocks of docs/restoring.md with commands are typed", typed["restoring"], all)
	}
}

func newStory(t *testing.T, m machine) *story {
	s := &story{rig: newRig(t, 0, ""), machine: m, world: sandbox.World{Account: sandbox.Account, Region: sandbox.Region}}
	s.named = map[string]string{"/mnt/": filepath.Join(s.dir, "mnt") + "/", "/root/": s.dir + "/"}
	var volumes strings.Builder
	for i, name := range m.folders {
		s.mounts = append(s.mounts, filepath.Join(s.dir, "mnt", name))
		volumes.WriteString(s.volume(i, "ext4"))
	}
	hook := s.script("hook", fmt.Sprintf("sleep 0.3\n[ ! -e %[1]s ] || touch %[1]s.in\nwhile [ -e %[1]s ]; do sleep 0.02; done\n", s.gate()))
	s.declare(fmt.Sprintf("snapshotter %q {\n  filter_tags = { role = %[1]q }\n%s%s}\n", m.snapshotter, &volumes, strings.ReplaceAll(m.more, "HOOK", hook)))
	return s
}

// happens brings an incident about and types its section.
func (s *story) happens(section string, i incident) {
	s.t.Helper()
	found := commandBlocks(section)
	if len(found) != len(i.before) {
		s.t.Fatalf("%d blocks of %q have commands, and something happens before %d", len(found), i.heading, len(i.before))
	}
	for n, block := range found {
		if before := i.before[n]; before != nil {
			before(s)
		}
		var all []command
		for _, c := range commands(block) {
			if c.alone {
				all = append(all, c)
				continue
			}
			for line := range strings.Lines(c.typed) { // each of which has to succeed
				all = append(all, command{typed: line})
			}
		}
		s.types(all)
		if s.t.Failed() {
			s.t.Fatalf("in block %d of %q", n+1, i.heading)
		}
	}
}

var aRun = regexp.MustCompile(`\b\d{8}T\d{9}-[0-9a-f]{4}\b`)

// types types the commands of a block, and compares their exit codes, which are 0 where the guide does not show one, and
// all that they print.
func (s *story) types(all []command) {
	s.t.Helper()
	named := []string{}
	for is, here := range s.named {
		named = append(named, is, here)
	}
	for _, c := range all {
		if run := aRun.FindString(c.typed); run != "" {
			named = append(named, run, s.lastRun())
		}
	}
	r := reader{t: s.t, dir: s.dir, paths: strings.NewReplacer(named...), env: append(s.env,
		"PATH="+s.dir+":"+os.Getenv("PATH"), "SNAPTASTIC_SETTINGS="+s.settings, "SNAPTASTIC_STATE_DIR="+s.state(), "SNAPTASTIC_SANDBOX="+sandbox.WorldDir(s.sandboxDir(), s.world))}
	for i, p := range r.typeAll(all) {
		told := i+1 < len(all) && strings.TrimSpace(all[i+1].typed) == "echo $?"
		if p.code != 0 && !told {
			s.t.Errorf("%q ends with %d, and the guide does not say so", all[i].typed, p.code)
		}
		if what := differing(r.shown(all[i]), p.text); what != "" && all[i].alone {
			s.t.Errorf("%q %s; all of it:\n%s", strings.TrimSpace(all[i].typed), what, p.text)
		}
	}
}

// leftOut are lines of the log, which a guide need not show. unsteady are lines about those steps of the whole run that were
// slow on this machine.
var leftOut, unsteady = regexp.MustCompile(`^TIME \[`), regexp.MustCompile(`^whole run: `)

// differing says where an output is not what was shown, line by line; "…" stands for any lines.
func differing(shown []string, output string) string {
	want := func() string {
		for len(shown) > 0 && unsteady.MatchString(shown[0]) {
			shown = shown[1:]
		}
		if len(shown) == 0 {
			return ""
		}
		return comparable(shown[0])
	}
	for line := range strings.Lines(output) {
		line = comparable(line)
		if want() == "…" && len(shown) > 1 && line == comparable(shown[1]) {
			shown = shown[1:]
		}
		switch {
		case line == "" || unsteady.MatchString(line) || want() == "…":
		case line == want():
			shown = shown[1:]
		case !leftOut.MatchString(line):
			return fmt.Sprintf("prints\n%s\nwhere the guide shows\n%s", line, want())
		}
	}
	if want() == "…" {
		shown = shown[1:]
	}
	if want() != "" {
		return fmt.Sprintf("does not print\n%s", want())
	}
	return ""
}

// filesAreTold compares the state directory with the list of files in the guide.
func (s *story) filesAreTold() {
	s.t.Helper()
	list := section(s.t, document(s.t, "docs/operations.md"), "Files")
	for _, pattern := range []string{"*", "runs/*"} {
		found, _ := filepath.Glob(filepath.Join(s.state(), pattern))
		for _, path := range found {
			below, _ := filepath.Rel(s.state(), path)
			told := filepath.Join("/var/lib/snaptastic", aRun.ReplaceAllString(below, "RUN"))
			if !strings.Contains(list, told) {
				s.t.Errorf("the guide does not say what %s is", told)
			}
		}
	}
}
