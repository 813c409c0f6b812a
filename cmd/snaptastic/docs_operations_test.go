package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// commandBlocks are the blocks of a guide with commands: those without a word behind the fence, those of sh, and those of text
// with a line that begins with "# ".
func commandBlocks(text string) (all []string) {
	for _, b := range blocks(text) {
		if b[0] == "" || b[0] == "sh" || b[0] == "text" && strings.Contains("\n"+b[1], "\n# ") {
			all = append(all, "```"+strings.TrimPrefix(b[0], "sh")+"\n"+b[1]+"```")
		}
	}
	return all
}

// ownPart is a section without those below it.
func ownPart(t *testing.T, text, heading string) string {
	t.Helper()
	m := regexp.MustCompile(`(?s)\n###? ` + regexp.QuoteMeta(heading) + `\n(.*?)(\n###? |$)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no section %q", heading)
	}
	return m[1]
}

// everyday is what is left of the operations guide without the sections of which each has a test.
func everyday(t *testing.T, guide string) string {
	t.Helper()
	elsewhere := []string{"systemd", "Practice in the sandbox"}
	for _, m := range machines {
		for _, i := range m.incidents {
			if m.guide == "operations" {
				elsewhere = append(elsewhere, i.heading)
			}
		}
	}
	for _, heading := range elsewhere {
		guide = strings.Replace(guide, ownPart(t, guide, heading), "\n", 1)
	}
	return guide
}

var inlineCommand = regexp.MustCompile("`snaptastic ([^`\n]+)`")

// What the documents say of commands in passing, in a sentence or a cell, names commands and options that exist.
func TestTheDocumentsNameCommandsThatExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, "../../README.md", "../../SECURITY.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inlineCommand.FindAllStringSubmatch(string(text), -1) {
			line, _, _ := strings.Cut(m[1], " | ")
			words := strings.Fields(strings.NewReplacer("[", "", "]", "", "OPERATION", "snapshot", "COMMAND", "runs", "… ", "").Replace(line))
			c, rest, err := rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr)).Find(words)
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil {
				err = c.ValidateArgs(c.Flags().Args())
			}
			// A command may be named without its arguments.
			if err != nil && !errors.Is(err, pflag.ErrHelp) && !strings.Contains(err.Error(), "missing argument") && !strings.Contains(err.Error(), "needs an argument") {
				t.Errorf("%s says %q: %v", filepath.Base(file), m[0], err)
			}
			seen++
		}
	}
	if seen < 100 {
		t.Errorf("only %d commands were found", seen)
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
	for _, b := range commandBlocks(everyday(t, document(t, "docs/operations.md"))) {
		for first, typed := range before {
			if strings.Contains(b, "\n"+first+"\n") {
				all = append(all, command{typed: typed})
			}
		}
		all = append(all, commands(b)...)
	}
	// ssh runs what it is told in a folder of its own.
	laptop := filepath.Join(dir, "laptop")
	if err := errors.Join(os.Mkdir(laptop, 0o700), os.WriteFile(filepath.Join(dir, "bin", "ssh"), []byte("#!/bin/sh\ncd "+laptop+" && shift && sh -c \"$*\"\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Errorf("only %d commands are typed", len(all))
	}
	r.follow(append(all, command{typed: "snaptastic run unmount solr --yes"}))
	if page, err := os.ReadFile(filepath.Join(laptop, "run.html")); err != nil || !strings.HasPrefix(string(page), "<!DOCTYPE html>") {
		t.Errorf("the report did not arrive: %v\n%.200s", err, page)
	}
	for _, file := range []string{"snaptastic.prom", "snaptastic-runs.prom"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		exposed(t, string(text))
	}
}
