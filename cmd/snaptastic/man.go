package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCommand writes the manual pages that packages install. Hidden: it is for
// those who build one.
func manCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "man DIR", Short: "Write the manual pages into a folder", Hidden: true, Args: exactly("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			return writeManual(c.Root(), args[0])
		}}
}

// writeManual writes a page for the program and for each command that is shown.
func writeManual(c *cobra.Command, dir string) error {
	page := filepath.Join(dir, manName(c)+".1")
	if err := os.WriteFile(page, []byte(manPage(c)), 0o644); err != nil {
		return fmt.Errorf("cannot write the manual: %w", err)
	}
	for _, sub := range shown(c) {
		if err := writeManual(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

func shown(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			out = append(out, sub)
		}
	}
	return out
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage is one page in the man macros (man(7)).
func manPage(c *cobra.Command) string {
	var m roff
	m.macro("TH", strings.ToUpper(manName(c)), "1", "", "snaptastic "+version(), "Snaptastic")
	m.macro("SH", "NAME")
	m.text(manName(c) + " - " + lowerFirst(c.Short))
	m.macro("SH", "SYNOPSIS")
	m.macro("B", strings.TrimSpace(c.UseLine()))
	m.macro("SH", "DESCRIPTION")
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	m.text(long)
	if subs := shown(c); len(subs) > 0 {
		m.macro("SH", "COMMANDS")
		for _, sub := range subs {
			m.term(sub.Name(), sub.Short)
		}
	}
	m.flags("OPTIONS", c.NonInheritedFlags())
	if c.HasParent() {
		m.macro("SH", "GLOBAL OPTIONS")
		m.text("See snaptastic(1).")
	} else {
		m.environment()
	}
	m.seeAlso(c)
	return m.String()
}

// environment is what only the program's own page has.
func (m *roff) environment() {
	m.macro("SH", "EXIT STATUS")
	for _, x := range [][2]string{
		{"0", "done"}, {"1", "failed, or `check` found a gap"}, {"2", "the command line or the settings are wrong; nothing was done"},
		{"3", "some volumes failed, the others are done"}, {"4", "an operator must decide"},
		{"5", "another run has the volume"}, {"130", "interrupted; resumable"},
	} {
		m.term(x[0], x[1])
	}
	m.macro("SH", "FILES")
	for _, x := range [][2]string{
		{"./snaptastic.hcl, /etc/snaptastic.hcl, /etc/snaptastic/*.hcl", "settings; see /usr/share/doc/snaptastic/settings.md"},
		{"/var/lib/snaptastic", "the journals of all runs"},
	} {
		m.term(x[0], x[1])
	}
	m.macro("SH", "ENVIRONMENT")
	m.term("SNAPTASTIC_SETTINGS", "the settings file")
	m.term("AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID, …", "as for every program of the AWS SDK")
	m.term("NO_COLOR", "no colour")
}

func (m *roff) seeAlso(c *cobra.Command) {
	var names []string
	if c.HasParent() {
		names = append(names, manName(c.Parent())+"(1)")
	}
	for _, sub := range shown(c) {
		names = append(names, manName(sub)+"(1)")
	}
	m.macro("SH", "SEE ALSO")
	m.text(strings.Join(names, ", "))
}

// roff writes man macros. Text is escaped: no line of it begins a macro.
type roff struct{ strings.Builder }

func (m *roff) macro(name string, args ...string) {
	m.WriteString("." + name)
	for _, a := range args {
		m.WriteString(` "` + strings.ReplaceAll(roffEscape(a), `"`, `\(dq`) + `"`)
	}
	m.WriteString("\n")
}

func (m *roff) text(s string) {
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		if strings.TrimSpace(line) == "" {
			m.macro("PP")
			continue
		}
		m.WriteString(roffLine(line) + "\n")
	}
}

func (m *roff) term(term, text string) {
	m.macro("TP")
	m.macro("B", term)
	m.WriteString(roffLine(text) + "\n")
}

func (m *roff) flags(title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	m.macro("SH", title)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		switch {
		case f.NoOptDefVal != "" && name != "":
			term += "[=" + name + "]"
		case name != "":
			term += " " + name
		}
		if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0" && d != "0s" {
			usage += " (default " + d + ")"
		}
		m.term(term, usage)
	})
}

func roffEscape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
}

// roffLine keeps a line from being taken for a macro.
func roffLine(s string) string {
	s = roffEscape(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}
