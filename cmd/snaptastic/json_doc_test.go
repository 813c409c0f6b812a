package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A jsonPage is docs/json.md: its commands, and the type of each key of each object.
type jsonPage struct {
	commands []string
	objects  map[string]map[string]string
}

var (
	quoted     = regexp.MustCompile("`([^`]+)`")
	keyRow     = regexp.MustCompile("^\\| `([^`]+)` \\| (.*?) \\|")
	linkedType = regexp.MustCompile(`^\[([^\]]+)\]`)
)

func readJSONPage(t *testing.T) jsonPage {
	t.Helper()
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	page := jsonPage{objects: map[string]map[string]string{}}
	chapter, object := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		row := keyRow.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "## "):
			chapter = line[3:]
		case strings.HasPrefix(line, "### "):
			object = line[4:]
			page.objects[object] = map[string]string{}
		case chapter == "Commands" && strings.HasPrefix(line, "| `"):
			first, _, _ := strings.Cut(line[2:], " | ")
			for _, q := range quoted.FindAllStringSubmatch(first, -1) {
				page.commands = append(page.commands, q[1])
			}
		case chapter == "Objects" && row != nil:
			page.objects[object][row[1]] = row[2]
		}
	}
	return page
}

// has says whether the page tells of a command, or of the one that it is below.
func (p jsonPage) has(path string) bool {
	for ; path != ""; path = path[:max(strings.LastIndex(path, " "), 0)] {
		if slices.ContainsFunc(p.commands, func(c string) bool { return c == path || strings.HasPrefix(c, path+" ") }) {
			return true
		}
	}
	return false
}

// problems lists the keys of a document that the page does not have.
func (p jsonPage) problems(path, kind string, v any) (wrong []string) {
	inner, list := strings.CutPrefix(kind, "list of ")
	all, is := v.([]any)
	if list && !is && v != nil {
		return []string{path + " is no list"}
	}
	if list || is {
		for _, item := range all {
			wrong = append(wrong, p.problems(path+"[]", inner, item)...)
		}
		return wrong
	}
	link := linkedType.FindStringSubmatch(kind)
	object, isObject := v.(map[string]any)
	if link == nil || !isObject {
		return nil
	}
	for key, item := range object {
		inner, known := p.objects[link[1]][key]
		if !known {
			wrong = append(wrong, "docs/json.md does not have "+path+"."+key+" of a "+link[1])
		}
		wrong = append(wrong, p.problems(path+"."+key, inner, item)...)
	}
	return wrong
}

// printed are the objects that commands print, or lists of them, as docs/json.md says.
var printed = map[string]string{"version": "version", "status": "run", "runs": "run", "plan": "plan", "run": "result", "resume": "result", "rollback": "result",
	"thaw": "thawed", "instances": "instance", "label": "labelled set", "undo": "undone", "volumes": "volume", "snapshots": "snapshots", "check": "check", "doctor": "doctor finding", "sandbox log": "sandbox call",
	"clean": "clean-up", "clean instances": "instances", "show": "details"}

// object is what a command line prints.
func object(args []string) string {
	for n := min(2, len(args)); n > 0; n-- {
		if o := printed[strings.Join(args[:n], " ")]; o != "" {
			return "[" + o + "]"
		}
	}
	return ""
}

// Each command that is shown prints JSON, of which docs/json.md tells; or it is one of those that print none.
func TestEveryCommandIsInTheJSONDocument(t *testing.T) {
	page := readJSONPage(t)
	none := []string{"man", "completion", "help", "sandbox serve", "sandbox reboot", "sandbox reset", "sandbox lose", "sandbox delete-volume", "report"}
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		path := strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "snaptastic"), " ")
		if c.Runnable() && !c.Hidden && path != "" && !page.has(path) && !slices.ContainsFunc(none, func(n string) bool { return path == n || strings.HasPrefix(path, n+" ") }) {
			t.Errorf("docs/json.md does not say what `%s -o json` prints: add it to the table of commands, and its type to `objects` in cmd/internal/render/json_doc_test.go", path)
		}
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	each(rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr)))
}
