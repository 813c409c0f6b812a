package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A guideBlock is a block of the operations guide that holds commands.
type guideBlock struct {
	text      string // with its fences
	notTyped  string // why it is not typed by a test; "" where it is
	practised bool   // TestThePracticeOfTheOperationsGuide types it
}

var notTyped = regexp.MustCompile(`<!-- not typed: (.+) -->\n$`)

// untyped are whole blocks that are not typed.
var untyped = regexp.MustCompile("(?s)<!-- not typed: [^>]+-->\n```.*?\n```\n")

// guideBlocks are the blocks of the operations guide with commands: those without a word behind the fence, those of sh, and
// those of text with a line that begins with "# ".
func guideBlocks(t *testing.T) (all []guideBlock) {
	text := document(t, "docs/operations.md")
	practice := section(t, text, "Practice in the sandbox")
	parts := strings.Split(text, "```")
	for i := 1; i < len(parts); i += 2 {
		kind, body, _ := strings.Cut(parts[i], "\n")
		transcript := kind == "text" && strings.Contains("\n"+body, "\n# ")
		if kind != "" && kind != "sh" && !transcript {
			continue
		}
		b := guideBlock{text: "```" + strings.TrimPrefix(kind, "sh") + "\n" + body + "```", practised: strings.Contains(practice, parts[i])}
		if m := notTyped.FindStringSubmatch(parts[i-1]); m != nil {
			b.notTyped = m[1]
		}
		all = append(all, b)
	}
	return all
}

// What cannot be typed here is known, counted, and made of commands that exist.
func TestTheOperationsGuideKnowsTheCommands(t *testing.T) {
	left := map[string]int{}
	for _, b := range guideBlocks(t) {
		if b.notTyped == "" {
			continue
		}
		left[b.notTyped]++
		for line := range strings.Lines(b.text) {
			line, _, _ = strings.Cut(strings.TrimPrefix(line, "# "), "  ")
			line, _, _ = strings.Cut(line, " | ")
			words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(line))
			if len(words) < 2 || words[0] != "snaptastic" {
				continue
			}
			c, rest, err := rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr)).Find(words[1:])
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil {
				err = c.ValidateArgs(c.Flags().Args())
			}
			if err != nil {
				t.Errorf("the guide shows %q: %v", line, err)
			}
		}
	}
	// Whoever adds a block that no test types changes this table.
	want := map[string]int{"an incident": 14, "a synopsis": 2, "it installs packages, which packaging/try does": 1, "it needs systemd": 1, "it needs another machine": 1,
		"a week of snapshots": 1, "a list of files": 1, "a fragment": 1}
	for why, n := range left {
		if want[why] != n {
			t.Errorf("%d blocks are not typed because: %s; want %d", n, why, want[why])
		}
	}
}

// The blocks of the operations guide that stand outside of an incident do what they say, one after the other.
func TestTheOperationsGuide(t *testing.T) {
	t.Parallel()
	needRig(t)
	dir := t.TempDir()
	bin := self(t, filepath.Join(dir, "bin"))
	settings, state := filepath.Join(dir, "snaptastic.hcl"), filepath.Join(dir, "state")
	r := reader{t: t, dir: dir, paths: strings.NewReplacer("/root/", dir+"/", "/mnt/solr", dir+"/mnt", "/var/lib/node_exporter", dir)}
	r.env = []string{"PATH=" + filepath.Dir(bin) + ":" + os.Getenv("PATH"), "SNAPTASTIC_SETTINGS=" + settings, "SNAPTASTIC_STATE_DIR=" + state, "SNAPTASTIC_SANDBOX=" + filepath.Join(state, "sandbox")}
	hcl := block(t, section(t, document(t, "README.md"), "On an instance"), "hcl")
	if err := os.WriteFile(settings, []byte(r.paths.Replace(hcl)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takeDown(bin, settings, state) })
	// What has happened before a block.
	before := map[string]string{
		"# snaptastic check":          "snaptastic run mount solr",
		"# snaptastic snapshots solr": "snaptastic run snapshot solr && snaptastic run snapshot solr",
	}
	var all []command
	for _, b := range guideBlocks(t) {
		if b.notTyped != "" || b.practised {
			continue
		}
		for first, typed := range before {
			if strings.Contains(b.text, "\n"+first+"\n") {
				all = append(all, command{typed: typed})
			}
		}
		all = append(all, commands(b.text)...)
	}
	if len(all) < 7 {
		t.Errorf("only %d commands are typed", len(all))
	}
	r.follow(append(all, command{typed: "snaptastic run unmount solr --yes"}))
	for _, file := range []string{"snaptastic.prom", "snaptastic-runs.prom"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		exposed(t, string(text))
	}
}
