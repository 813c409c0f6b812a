package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Each command that is shown has a page, with its flags, that a formatter
// takes without a word.
func TestTheManual(t *testing.T) {
	dir := t.TempDir()
	root := rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr))
	if err := writeManual(root, dir); err != nil {
		t.Fatal(err)
	}
	groff, _ := exec.LookPath("groff")
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		page := filepath.Join(dir, manName(c)+".1")
		text, err := os.ReadFile(page)
		if err != nil {
			t.Errorf("%s has no page: %v", c.CommandPath(), err)
			return
		}
		for _, want := range []string{".TH ", `.SH "NAME"`, `.SH "SYNOPSIS"`, `.SH "DESCRIPTION"`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the page of %s has no %s", c.CommandPath(), want)
			}
		}
		if groff != "" {
			if out, err := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", page).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("the page of %s: %v\n%s", c.CommandPath(), err, out)
			}
		}
		for _, sub := range shown(c) {
			each(sub)
		}
	}
	each(root)
	main, err := os.ReadFile(filepath.Join(dir, "snaptastic.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`\-\-state\-dir folder`, `\-o, \-\-output format`, `.B "130"`, "/var/lib/snaptastic", "snaptastic\\-run(1)"} {
		if !strings.Contains(string(main), want) {
			t.Errorf("snaptastic.1 does not have %s", want)
		}
	}
	if strings.Contains(string(main), "snaptastic-man") || strings.Contains(string(main), "STATE/sandbox]") {
		t.Error("snaptastic.1 shows what is hidden")
	}
}
