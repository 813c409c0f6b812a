package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A transcript is what was typed and printed, as docs/fleet.md shows it.
type transcript struct {
	r    *rig
	text strings.Builder
}

// fleet runs `snaptastic fleet …` and returns what a terminal shows.
func (s *transcript) fleet(args ...string) string {
	s.r.t.Helper()
	bin, err := programs()
	if err != nil {
		s.r.t.Fatal(err)
	}
	c := exec.Command(bin.fleet, append(args, "--config", s.r.dir+"/fleet.hcl")...)
	c.Env = append(os.Environ(), "NO_COLOR=1")
	out, _ := c.CombinedOutput() // an error is on the screen as well
	fmt.Fprintf(&s.text, "# snaptastic fleet %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// shell runs a command line in which `ssh HOST cat FILE` reads the file of that host.
func (s *transcript) shell(line, file string, hosts ...*testHost) string {
	s.r.t.Helper()
	script := "ssh() { case $1 in\n"
	for _, h := range hosts {
		script += fmt.Sprintf("%s) cat %s/%s ;;\n", h.name, h.mount, file)
	}
	out, err := exec.Command("bash", "-c", script+"esac; }\n"+line).CombinedOutput()
	if err != nil {
		s.r.t.Fatalf("%v: %s", err, out)
	}
	fmt.Fprintf(&s.text, "# %s\n%s", line, out)
	return string(out)
}

// What differs from one time to the next, in the order in which it is looked for.
var variable = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`shards-\d{8}T\d{6}\.\d{3}Z`), "SET"},
	{regexp.MustCompile(`\d{8}T\d{9}-[0-9a-f]{4}`), "RUN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ|\d\d:\d\d:\d\d\.\d{3}Z`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?m?s\b`), "DURATION"},
	{regexp.MustCompile(`h\d froze last, h\d thawed first`), "HOST froze last, HOST thawed first"},
	{regexp.MustCompile(`\b\d{3,}\b`), "NUMBER"},
	{regexp.MustCompile(`\s*(\n|$)`), "\n"}, // and what a row of a table ends with
	{regexp.MustCompile(`  +`), "  "},
}

func form(text string) string {
	for _, v := range variable {
		text = v.is.ReplaceAllString(text, v.as)
	}
	return strings.TrimSpace(text)
}

var heading = regexp.MustCompile(`(?m)^##+ `)

var textBlock = regexp.MustCompile("(?s)```text\n(.*?)```")

// isInTheDocs holds a section of docs/fleet.md against what was shown: its blocks, one after the other, are that, but for times, ids and counts.
func (s *transcript) isInTheDocs(t *testing.T, section string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n"+section+"\n")
	if next := heading.FindStringIndex(text); next != nil {
		text = text[:next[0]]
	}
	shown := ""
	for _, m := range textBlock.FindAllStringSubmatch(text, -1) {
		shown += m[1]
	}
	t.Logf("what was shown:\n%s", s.text.String())
	if has, want := form(shown), form(s.text.String()); has != want {
		t.Errorf("docs/fleet.md, %s, is not what is shown. It has\n%s\n\nand should have, with the times and ids above,\n%s", section, has, want)
	}
}

// Hosts in cells, one after the other: each cell is a set with a proof of its own.
func TestRollingSnapshots(t *testing.T) {
	if testing.Short() {
		t.Skip("two windows, one after the other")
	}
	r := newRig(t, 3)
	for _, n := range sortedNames(r.hosts) {
		r.must(r.hosts[n], "run", "mount", "db")
	}
	s := &transcript{r: r}
	out := s.fleet("snapshot", "shards", "--rolling", "2")
	if proofs := proof.FindAllStringSubmatch(out, -1); len(proofs) != 2 || proofs[0][2] != "2" || proofs[1][2] != "1" {
		t.Errorf("two cells of three hosts: %s", out)
	}
	s.fleet("status", "shards")
	s.isInTheDocs(t, "### Cells")
	if n := r.labelledSnapshots(); n != 3 {
		t.Errorf("%d snapshots are labelled", n)
	}
	r.nothingFrozen(t)
}

// proof is the line that says that all hosts of a set stood still together.
var proof = regexp.MustCompile(`(?m)^set (\S+): (\d+) snapshots? on \d+ hosts?, labelled\. All stood still together for (\d+\.\d) ms, from \S+Z on \((h\d) froze last, (h\d) thawed first; clock errors taken off\)\.$`)
