package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

// every calls f for each command that is shown.
func every(c *cobra.Command, f func(*cobra.Command)) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			f(sub)
			every(sub, f)
		}
	}
}

// Each command has an example that its own flags and arguments take, and the commands are in groups.
func TestEachCommandHasAnExample(t *testing.T) {
	root := rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr))
	every(root, func(c *cobra.Command) {
		if c.Parent() == root && c.GroupID == "" {
			t.Errorf("%s is in no group", c.CommandPath())
		}
		line := strings.TrimSpace(c.Example)
		if !strings.HasPrefix(line, c.CommandPath()) || strings.Contains(line, "\n") {
			t.Errorf("the example of %s is %q", c.CommandPath(), line)
			return
		}
		words := strings.Fields(line)[1:]
		found, rest, err := root.Find(words)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		if found.DisableFlagParsing {
			return
		}
		if err := found.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", line, err)
		} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	})
	var help strings.Builder
	root.SetOut(&help)
	if err := root.Help(); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if !strings.Contains(help.String(), g.title+":\n") {
			t.Errorf("the help has no group %s:\n%s", g.title, help.String())
		}
	}
	if strings.Contains(help.String(), "Additional Commands") {
		t.Errorf("commands are left over:\n%s", help.String())
	}
}

var inRow = regexp.MustCompile("`([^`]+)`")

// docs/commands.md tells of each command, of no other, and of flags that exist; its exit codes are the program's.
func TestTheListOfCommandsIsTrue(t *testing.T) {
	root := rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr))
	text := document(t, "docs/commands.md")
	commandsPart, codes, _ := strings.Cut(text, "## Exit codes")
	told := map[string]bool{}
	for line := range strings.Lines(commandsPart) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		first, what, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		var commands []*cobra.Command
		for _, m := range inRow.FindAllStringSubmatch(first, -1) {
			words := strings.Fields(strings.ReplaceAll(m[1], `\|`, "|"))
			names := []string{words[0]}
			if len(words) > 1 && strings.ToLower(words[1]) == words[1] && !strings.HasPrefix(words[1], "[") && !strings.HasPrefix(words[1], "-") {
				names = nil
				for _, sub := range strings.Split(words[1], "|") {
					names = append(names, words[0]+" "+sub)
				}
			}
			for _, name := range names {
				c, rest, err := root.Find(strings.Fields(name))
				if err != nil || len(rest) > 0 && c.HasSubCommands() {
					t.Errorf("there is no command %s", name)
					continue
				}
				told[c.CommandPath()], commands = true, append(commands, c)
			}
		}
		for _, m := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(first+what, -1) {
			has := false
			for _, c := range commands {
				has = has || c.Flags().Lookup(m[1]) != nil || c.InheritedFlags().Lookup(m[1]) != nil
			}
			if !has {
				t.Errorf("%q tells of --%s, which it does not have", first, m[1])
			}
		}
	}
	every(root, func(c *cobra.Command) {
		if !c.HasSubCommands() && !told[c.CommandPath()] && !told[c.Parent().CommandPath()] {
			t.Errorf("docs/commands.md does not tell of %s", c.CommandPath())
		}
	})
	for _, f := range []string{"settings", "userdata", "state-dir", "sandbox", "region", "endpoint-url", "metadata-url", "log-level", "log-format", "output", "yes", "no-color"} {
		if root.PersistentFlags().Lookup(f) == nil || !strings.Contains(commandsPart, "`--"+f+"`") {
			t.Errorf("--%s is not a global flag, or not told of", f)
		}
	}
	for _, code := range []int{exitDone, exitFailed, exitUsage, exitSomeLanes, exitOperator, exitBusy, exitChanges, exitInterrupted} {
		if !strings.Contains(codes, "| "+strconv.Itoa(code)+" |") {
			t.Errorf("docs/commands.md does not tell of exit code %d", code)
		}
	}
	for _, code := range exitCodes {
		if code == exitChanges {
			t.Error("the exit code of pending changes is an error's")
		}
	}
}

// A shell is offered the values that a flag takes, and no file names.
func TestValuesOfFlagsAreCompleted(t *testing.T) {
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db")
	set := r.lastOf("snapshot")
	for line, want := range map[string][]string{
		"plan mount --format":    {"tree", "dot", "mermaid"},
		"check --format":         {"text", "nagios", "prometheus"},
		"runs --format":          {"text", "prometheus"},
		"runs --output":          {"text", "json", "jsonl"},
		"runs --log-level":       {"trace", "debug", "info", "warn", "error", "off"},
		"runs --state":           {"live", "interrupted", string(engine.PhaseDamaged)},
		"runs --operation":       {"mount", "snapshot", "clean volumes"},
		"runs --snapshotter":     {"db"},
		"run mount --on-failure": {"stop", "rollback"},
		"run mount db --set":     {set},
		"run restore db --set":   {set},
		"show":                   {"last", set},
	} {
		words := append([]string{"__complete", "--settings", r.settings, "--state-dir", r.state()}, strings.Fields(line)...)
		code, out, _ := r.apart(r.bare(append(words, "")...))
		if code != exitDone {
			t.Errorf("%s: exit %d", line, code)
		}
		for _, w := range want {
			if !strings.Contains("\n"+out, "\n"+w+"\n") && !strings.Contains("\n"+out, "\n"+w+"\t") {
				t.Errorf("%s: %q is not offered:\n%s", line, w, out)
			}
		}
		if strings.Contains(line, "--set") && strings.Contains(out, r.lastOf("mount")) {
			t.Errorf("%s: a run that made no set is offered:\n%s", line, out)
		}
	}
}
