package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// blocks are the fenced code blocks of a document, in order, with the word behind the fence.
func blocks(text string) (all [][2]string) {
	parts := strings.Split(text, "```")
	for i := 1; i < len(parts); i += 2 {
		kind, body, _ := strings.Cut(parts[i], "\n")
		all = append(all, [2]string{kind, body})
	}
	return all
}

// What step 7 of the tutorial says to type does what the text says, as written.
func TestTheTutorialBreaksARunAndResumesIt(t *testing.T) {
	t.Parallel()
	needRig(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tutorial, _ := strings.Cut(string(readme), "## Tutorial")
	before, after, found := strings.Cut(tutorial, "**7. Crash and resume.**")
	if !found {
		t.Fatal("the tutorial has no step 7")
	}
	settings := ""
	for _, b := range blocks(before) {
		if b[0] == "hcl" {
			settings = b[1]
		}
	}
	step := blocks(after)[0]
	if settings == "" || step[0] != "" {
		t.Fatalf("no settings, or step 7 does not begin with commands: %q", step)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "snaptastic")
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/root/lab", dir+"/lab", "/root/solr.hcl", dir+"/solr.hcl", "/mnt/solr", dir+"/mnt", "$PWD/bin/snaptastic", bin)
	alias := ""
	for line := range strings.Lines(before) {
		if strings.HasPrefix(line, "alias ") {
			alias = line
		}
	}
	script := "shopt -s expand_aliases\n" + alias + "snaptastic run mount solr\nsnaptastic run snapshot solr\n" + step[1]
	if err := os.WriteFile(dir+"/solr.hcl", []byte(here.Replace(settings)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, args := range [][]string{{"run", "unmount", "solr", "--yes"}, {"sandbox", "reset"}} {
			_ = exec.Command(bin, append([]string{"--settings", dir + "/solr.hcl", "--state-dir", dir + "/lab", "--sandbox"}, args...)...).Run()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", here.Replace(script)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, status, found := strings.Cut(string(out), "interrupted")
	if !found {
		t.Fatalf("no run was interrupted:\n%s", out)
	}
	if !strings.Contains(status, "is done, took") || !strings.Contains(status, "wait-available") {
		t.Errorf("the run was not resumed where it stood:\n%s", out)
	}
}
