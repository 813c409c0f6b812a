package main

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRooms holds the arrows between our packages: who may import whom. Test
// files may reach further.
func TestRooms(t *testing.T) {
	const leaf = "plan/units" // imports nothing of ours, and everybody may use it
	may := map[string][]string{
		leaf:                         {},
		"plan":                       {},
		"journal":                    {"plan"},
		"runner":                     {"plan", "journal"},
		"linux":                      {},
		"linux/guard":                {"linux"},
		"ec2":                        {"ec2/ebs"},
		"ec2/ebs":                    {},
		"ec2/sandbox":                {"linux", "ec2/ebs"},
		"steps/snapset":              {"ec2", "ec2/ebs"},
		"steps":                      {"plan", "ec2", "ec2/ebs", "linux", "linux/guard", "steps/snapset"},
		"steps/recipe":               {"plan", "steps", "steps/snapset"},
		"cmd/internal/settings":      {"steps/recipe", "steps/snapset", "linux", "ec2/ebs"},
		"cmd/internal/render/report": {"plan", "journal", "runner", "cmd/internal/engine", "cmd/internal/render"},
		"cmd/internal/render":        {"plan", "journal", "runner", "cmd/internal/engine"},
		"cmd/internal/engine": {"plan", "journal", "runner", "linux", "linux/guard", "ec2", "ec2/ebs", "steps", "steps/recipe", "steps/snapset",
			"cmd/internal/settings"},
		"cmd/snaptastic":     nil, // everything: it wires
		"cmd/internal/bench": nil, // everything: it measures
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "snaptastic/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		words := strings.Fields(line)
		room := strings.TrimPrefix(words[0], "snaptastic/")
		allowed, known := may[room]
		if !known {
			t.Errorf("%s is a room that the house plan does not have", room)
			continue
		}
		if allowed == nil {
			continue
		}
		for _, dep := range words[1:] {
			ours, is := strings.CutPrefix(dep, "snaptastic/")
			if is && ours != leaf && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", room, ours)
			}
		}
	}
}

func TestPlanImportsTheStandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "snaptastic/plan").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != "snaptastic/plan" {
		t.Errorf("plan depends on %s", got)
	}
}

// The engine asks its caller for what a terminal, flags or the environment would tell.
func TestTheEngineKnowsNoCommandLine(t *testing.T) {
	files, err := filepath.Glob("../internal/engine/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, word := range []string{"spf13/", "os.Getenv", "os.LookupEnv", "os.Setenv", "os.Environ", "os.Exit", "os.Std", "fmt.Print", "fmt.Fprint", "/render\"", "x/term"} {
			if strings.Contains(string(body), word) {
				t.Errorf("%s has %s", path, word)
			}
		}
	}
}

// TestOneFileWiresTheLibraries: a command asks the engine, and prints what it returns.
func TestOneFileWiresTheLibraries(t *testing.T) {
	const wiring = "wire.go"
	also := map[string]string{"sandbox.go": "snaptastic/ec2/sandbox"} // the command about the local EC2 itself
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") || path == wiring {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			dep := strings.Trim(i.Path.Value, `"`)
			ours := strings.HasPrefix(dep, "snaptastic/") && !strings.HasPrefix(dep, "snaptastic/cmd/internal/")
			if ours && also[path] != dep && dep != "snaptastic/plan/units" {
				t.Errorf("%s imports %s; the engine is asked for that", path, dep)
			}
		}
	}
}
