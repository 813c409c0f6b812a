package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Each command that is shown has a page, with its flags, that a formatter
// takes without a word.
func TestTheManual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "-tags", "man", ".", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	groff, _ := exec.LookPath("groff")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Errorf("a page is missing: %v", err)
		}
		return string(text)
	}
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		text := read(name)
		for _, want := range []string{".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"} {
			if !strings.Contains(text, want) {
				t.Errorf("the page of %s has no %s", c.CommandPath(), want)
			}
		}
		if groff != "" {
			page := filepath.Join(dir, name+".1")
			if out, err := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", page).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("the page of %s: %v\n%s", c.CommandPath(), err, out)
			}
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
				each(sub)
			}
		}
	}
	each(rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr)))
	page := filepath.Join(dir, "snaptastic.hcl.5")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if groff != "" {
		if out, err := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", page).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("the page of the settings: %v\n%s", err, out)
		}
	}
	told := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ").FindAllStringSubmatch(document(t, "docs/settings.md"), -1)
	for _, m := range told { // which another test holds against the declarations
		if !strings.Contains(string(text), m[1]) {
			t.Errorf("snaptastic.hcl.5 does not tell of %s", m[1])
		}
	}
	for _, want := range []string{`.TH "SNAPTASTIC.HCL" "5"`, `\fBmount_point\fP (text; required)`, ".SH TOP LEVEL", `.SH volume "DEVICE"`, `mount_point = "/mnt/solr"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("snaptastic.hcl.5 does not have %s", want)
		}
	}
	if len(told) < 50 {
		t.Errorf("only %d settings are compared", len(told))
	}
	main := read("snaptastic")
	for _, want := range []string{`\fB--state-dir\fP`, `\fB-o\fP, \fB--output\fP`, `\fB130\fP`, "/var/lib/snaptastic", `\fBsnaptastic-run(1)\fP`} {
		if !strings.Contains(main, want) {
			t.Errorf("snaptastic.1 does not have %s", want)
		}
	}
	if strings.Contains(main, "mount-snapshots") {
		t.Error("snaptastic.1 shows what is hidden")
	}
}
