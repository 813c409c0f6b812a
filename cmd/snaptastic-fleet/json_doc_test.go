package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic-fleet/flow"
)

// documented are the objects that docs/fleet.md has under "JSON", each with a table of its keys.
var documented = []struct {
	name string
	of   any
}{
	{"fleet snapshot", flow.SnapshotResult{}},
	{"instant", flow.Instant{}},
	{"host", flow.HostState{}},
	{"hosts", flow.HostsResult{}},
	{"run of a host", flow.RunResult{}},
	{"account", flow.SetResult{}},
	{"work", work{}},
	{"schedule", scheduled{}},
	{"last time", lastTime{}},
	{"request", request{}},
}

// jsonChapter is the part of docs/fleet.md that tells of JSON.
func jsonChapter(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, found := strings.Cut(string(page), "\n## JSON\n")
	if !found {
		t.Fatal("docs/fleet.md has no section JSON")
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	return chapter
}

var jsonRow = regexp.MustCompile("^\\| `([^`]+)` \\| (.+?) \\| (.+) \\|$")

// Every key that a command of the fleet prints is in docs/fleet.md with its type, and no other.
func TestTheJSONOfTheFleetIsDocumented(t *testing.T) {
	has, object := map[string]map[string]string{}, ""
	for line := range strings.Lines(jsonChapter(t)) {
		line = strings.TrimSpace(line)
		if name, is := strings.CutPrefix(line, "### "); is {
			object, has[name] = name, map[string]string{}
		} else if row := jsonRow.FindStringSubmatch(line); row != nil && object != "" {
			has[object][row[1]] = row[2]
		}
	}
	for _, o := range documented {
		keys := has[o.name]
		delete(has, o.name)
		of := reflect.TypeOf(o.of)
		for i := range of.NumField() {
			key, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			kind := jsonKind(t, of.Field(i).Type)
			if keys[key] != kind {
				t.Errorf("docs/fleet.md, JSON, %s: %q has the type %q: write | `%s` | %s | … |", o.name, key, keys[key], key, kind)
			}
			delete(keys, key)
		}
		for key := range keys {
			t.Errorf("docs/fleet.md, JSON, %s: there is no key %q", o.name, key)
		}
	}
	for name := range has {
		t.Errorf("docs/fleet.md, JSON: there is no object %q", name)
	}
}

// jsonKind is the name of a type in the tables, with a link where it is an object.
func jsonKind(t *testing.T, of reflect.Type) string {
	t.Helper()
	switch of.Kind() {
	case reflect.Pointer:
		return jsonKind(t, of.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + jsonKind(t, of.Elem())
	}
	if of == reflect.TypeFor[time.Time]() {
		return "time"
	}
	for _, o := range documented {
		if reflect.TypeOf(o.of) == of {
			return "[" + o.name + "](#" + strings.ReplaceAll(o.name, " ", "-") + ")"
		}
	}
	t.Errorf("%s is printed as JSON: add it to `documented`", of)
	return ""
}

// Each command is in the table of commands, or prints no JSON.
func TestEveryCommandOfTheFleetIsInTheJSONDocument(t *testing.T) {
	first, _, _ := strings.Cut(jsonChapter(t), "\n### ")
	none := []string{"worker", "control", "key", "help", "completion"}
	for _, c := range rootCommand(&app{}).Commands() {
		if told := strings.Contains(first, "`"+c.Name()+"`"); told == slices.Contains(none, c.Name()) {
			t.Errorf("docs/fleet.md, JSON: what `snaptastic fleet %s -o json` prints: told %v", c.Name(), told)
		}
	}
}
