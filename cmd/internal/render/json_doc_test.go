package render

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2/sandbox"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// jsonDoc documents all JSON for programs.
const jsonDoc = "../../../docs/json.md"

// objects are the JSON objects of docs/json.md, in its order. A new command adds the type that it prints, and whatever struct types
// that one holds. `go test ./cmd/internal/render -run JSON -update` then adds the keys to the page, with TODO where the
// meaning has to be written.
var objects = []struct {
	name string
	of   any
}{
	{"event", engine.Event{}},
	{"result", endView{}},
	{"mounted again", engine.MountedAgain{}},
	{"lane", laneView{}},
	{"step time", timeView{}},
	{"facts", plan.Facts{}},
	{"drill", plan.Drill{}},
	{"warming", plan.Warming{}},
	{"phase", plan.Phase{}},
	{"freeze", freezeView{}},
	{"frozen file system", stillView{}},
	{"clock", plan.Clock{}},
	{"failure", failureView{}},
	{"command", nextCommand{}},
	{"run", runView{}},
	{"ending", journal.Ending{}},
	{"recorded failure", journal.Failure{}},
	{"decision", engine.Decision{}},
	{"reach", journal.CloudConfig{}},
	{"details", detailsView{}},
	{"step", stepDetails{}},
	{"retry", journal.Retry{}},
	{"process", journal.Process{}},
	{"section", plan.Section{}},
	{"record", engine.HistoryRecord{}},
	{"plan", planView{}},
	{"planned lane", plan.Lane{}},
	{"planned step", stepView{}},
	{"held program", plan.Held{}},
	{"volume", engine.VolumeView{}},
	{"declared volume", engine.DeclaredVolume{}},
	{"attached volume", engine.AttachedVolume{}},
	{"mounted volume", engine.MountedVolume{}},
	{"snapshots", snapshotsView{}},
	{"snapshot", engine.StockView{}},
	{"manifest", snapset.Manifest{}},
	{"manifest set", snapset.ManifestSet{}},
	{"manifest member", snapset.ManifestMember{}},
	{"reason to keep", snapset.Reason{}},
	{"holding", engine.Holding{}},
	{"choice", snapset.ChoiceView{}},
	{"volume in the way", snapset.Attached{}},
	{"near miss", snapset.NearMiss{}},
	{"broken set", snapset.Broken{}},
	{"check", checkView{}},
	{"check finding", engine.CheckFinding{}},
	{"clean-up", CleanView{}},
	{"clean-up decision", engine.CleanDecision{}},
	{"instances", InstancesView{}},
	{"idle instance", engine.IdleInstance{}},
	{"instance", engine.Instance{}},
	{"labelled set", engine.LabelledSet{}},
	{"set part", engine.SetPart{}},
	{"undone", engine.Undone{}},
	{"kept snapshot", engine.KeptSnapshot{}},
	{"thawed", engine.Thawed{}},
	{"doctor finding", engine.Finding{}},
	{"draft", engine.Draft{}},
	{"volume left out", engine.LeftOutVolume{}},
	{"validation", settings.ValidationView{}},
	{"diagnostic", settings.DiagnosticView{}},
	{"version", VersionView{}},
	{"sandbox call", sandbox.Call{}},
}

// snapshotsView is what LongJSON writes for `snapshots`.
type snapshotsView struct {
	Snapshots []engine.StockView   `json:"snapshots"`
	Choices   []snapset.ChoiceView `json:"choices"`
	Kept      engine.Holding       `json:"kept"`
	NotKept   engine.Holding       `json:"not_kept"`
}

func nameOf(t reflect.Type) string {
	for _, o := range objects {
		if reflect.TypeOf(o.of) == t {
			return o.name
		}
	}
	return ""
}

// A jsonKey is one key of an object, as encoding/json writes it.
type jsonKey struct {
	name, kind string
	depth      int
}

// keysOf lists the keys of a struct type in their order; those of an embedded struct give way to the struct's own.
func keysOf(t *testing.T, of reflect.Type, depth int) (keys []jsonKey) {
	add := func(k jsonKey) {
		for i := range keys {
			if keys[i].name == k.name {
				if k.depth < keys[i].depth {
					keys[i] = k
				}
				return
			}
		}
		keys = append(keys, k)
	}
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "":
			for _, k := range keysOf(t, f.Type, depth+1) {
				add(k)
			}
		default:
			if name == "" {
				t.Errorf("%s.%s has no JSON name", of, f.Name)
			}
			kind := ""
			if f.Type != reflect.TypeFor[*struct{}]() { // which hides the key of an embedded struct
				kind = kindOf(t, f.Type)
			}
			add(jsonKey{name, kind, depth})
		}
	}
	return slices.DeleteFunc(keys, func(k jsonKey) bool { return depth == 0 && k.kind == "" })
}

func kindOf(t *testing.T, of reflect.Type) string {
	switch {
	case of == reflect.TypeFor[time.Time]():
		return "time"
	case of == reflect.TypeFor[json.RawMessage]() || of.Kind() == reflect.Interface:
		return "any"
	case of == reflect.TypeFor[plan.Duration]():
		return "" // always hidden by a number of seconds
	}
	switch of.Kind() {
	case reflect.Pointer:
		return kindOf(t, of.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float64, reflect.Float32:
		return "number"
	case reflect.Slice:
		return "list of " + kindOf(t, of.Elem())
	case reflect.Map:
		return "map of " + kindOf(t, of.Elem())
	case reflect.Struct:
		name := nameOf(of)
		if name == "" {
			t.Errorf("%s is printed as JSON and is not in docs/json.md: add it to `objects` in json_doc_test.go, and run this test with -update", of)
			return "any"
		}
		return fmt.Sprintf("[%s](#%s)", name, strings.ReplaceAll(name, " ", "-"))
	}
	if of.ConvertibleTo(reflect.TypeFor[int64]()) {
		return "integer"
	}
	t.Errorf("%s has no type of JSON", of)
	return "any"
}

var (
	docRow = regexp.MustCompile("^\\| `([^`]+)` \\| (.*?) \\| (.*) \\|$")
	// unitNamed: a number says its unit in its name or in the page.
	unitNamed = regexp.MustCompile(`_(seconds|gib|bytes|percent)\b|\b(seconds|GiB|bytes|percent|MiB/s|IOPS|milliseconds|number|from 1|count|how many|status)\b`)
)

// TestTheJSONDocument holds docs/json.md against the code: every key of every object is in it with its type, and nothing else.
func TestTheJSONDocument(t *testing.T) {
	page, err := os.ReadFile(jsonDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, _, found := strings.Cut(string(page), "\n## Objects\n")
	if !found {
		t.Fatal("docs/json.md has no section Objects")
	}
	meanings, intros := map[string]string{}, map[string]string{}
	object := ""
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		if name, is := strings.CutPrefix(line, "### "); is {
			object = name
		} else if row := docRow.FindStringSubmatch(line); row != nil && object != "" {
			meanings[object+"."+row[1]] = row[3]
		} else if object != "" && line != "" && !strings.HasPrefix(line, "|") {
			intros[object] += line + "\n"
		}
	}
	var b strings.Builder
	b.WriteString(head + "\n## Objects\n")
	for _, o := range objects {
		fmt.Fprintf(&b, "\n### %s\n\n", o.name)
		if intro := intros[o.name]; intro != "" {
			b.WriteString(intro + "\n")
		}
		b.WriteString("| key | type | meaning |\n|---|---|---|\n")
		for _, k := range keysOf(t, reflect.TypeOf(o.of), 0) {
			meaning := meanings[o.name+"."+k.name]
			if meaning == "" {
				meaning = "TODO"
			}
			if meaning == "TODO" && !*update {
				t.Errorf("docs/json.md does not say what %q of %q means", k.name, o.name)
			}
			if (k.kind == "integer" || k.kind == "number") && !unitNamed.MatchString(k.name+" "+meaning) {
				t.Errorf("docs/json.md does not give the unit of %q of %q", k.name, o.name)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, k.kind, meaning)
		}
	}
	if b.String() == string(page) {
		return
	}
	if *update {
		if err := os.WriteFile(jsonDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("docs/json.md is not as the code: run `go test ./cmd/internal/render -run JSON -update`, and write what each TODO means\n%s", diffLines(string(page), b.String()))
}

// diffLines are the lines that are in one text only.
func diffLines(had, wants string) string {
	var out []string
	a, b := strings.Split(had, "\n"), strings.Split(wants, "\n")
	for _, l := range a {
		if !slices.Contains(b, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out = append(out, "+ "+l)
		}
	}
	return strings.Join(out, "\n")
}

func TestKeysGiveWayToThoseOfTheStructItself(t *testing.T) {
	type inner struct {
		A string          `json:"a"`
		B int             `json:"b"`
		C plan.Duration   `json:"c"`
		D json.RawMessage `json:"d"`
	}
	type outer struct {
		inner
		A *struct{} `json:"a,omitempty"`
		B []float64 `json:"b"`
		E time.Time `json:"e"`
	}
	want := []jsonKey{{"b", "list of number", 0}, {"d", "any", 1}, {"e", "time", 0}}
	if got := keysOf(t, reflect.TypeFor[outer](), 0); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
