package main

import (
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

// groups are the parts of the list of commands, each with its commands and an example of each. An operation's example is
// made from its name.
var groups = []struct {
	title    string
	commands [][2]string
}{
	{"Operate", [][2]string{{"run", "run snapshot solr"}, {"plan", "plan mount solr"}, {"resume", "resume"}, {"rollback", "rollback last"}, {"abandon", "abandon last"}}},
	{"Look", [][2]string{{"status", "status --watch"}, {"runs", "runs --operation snapshot --since 7d"}, {"show", "show last"}, {"report", "report last report.html"},
		{"trace", "trace last"}, {"volumes", "volumes solr"}, {"snapshots", "snapshots solr"}, {"check", "check --max-age 26h"}}},
	{"Set up", [][2]string{{"init", "init /etc/snaptastic.hcl"}, {"validate", "validate --userdata @userdata.json snaptastic.hcl"}, {"doctor", "doctor"}}},
	{"Clean up", [][2]string{{"clean", "clean snapshots solr --dry-run"}, {"thaw", "thaw --owned"}}},
	{"Many hosts", [][2]string{{"fleet", "fleet snapshot shards"}, {"instances", "instances --tag cluster=shards"}, {"label", "label --set shards-20261128T030000Z"}, {"undo", "undo --set shards-20261128T030000Z --dry-run"}}},
	{"More", [][2]string{{"sandbox", "sandbox serve --sandbox=/tmp/sandbox"}, {"version", "version"}}},
}

// moreExamples are those of commands below.
var moreExamples = map[string]string{
	"clean all": "clean all --dry-run", "clean snapshots": "clean snapshots solr --dry-run", "clean volumes": "clean volumes --dry-run",
	"clean images": "clean images --dry-run", "clean instances": "clean instances --dry-run",
	"sandbox serve": "sandbox serve --sandbox=/tmp/sandbox", "sandbox log": "sandbox log --sandbox=/tmp/sandbox", "sandbox reboot": "sandbox reboot --sandbox=/tmp/sandbox",
	"sandbox reset": "sandbox reset --sandbox=/tmp/sandbox", "sandbox lose": "sandbox lose eu-west-1 --sandbox=/tmp/sandbox", "sandbox delete-volume": "sandbox delete-volume vol-0123456789abcdef0 --sandbox=/tmp/sandbox",
}

// arrange groups the commands and gives each its example.
func arrange(root *cobra.Command) {
	example := func(c *cobra.Command, text string) { c.Example = "  snaptastic " + text }
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, of := range g.commands {
			for _, c := range root.Commands() {
				if c.Name() == of[0] {
					c.GroupID = g.title
					example(c, of[1])
				}
			}
		}
	}
	root.SetHelpCommandGroupID("More")
	root.SetCompletionCommandGroupID("More")
	for _, c := range root.Commands() {
		for _, sub := range c.Commands() {
			path := strings.TrimPrefix(sub.CommandPath(), "snaptastic ")
			switch text, known := moreExamples[path]; {
			case known:
				example(sub, text)
			case isOperation(sub.Name()):
				example(sub, path+" solr")
			}
		}
	}
}

func isOperation(name string) bool {
	for _, op := range engine.Operations() {
		if op.Name == name {
			return true
		}
	}
	return false
}
