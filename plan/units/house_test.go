package units_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// elsewhere are the files that write durations in a way of their own, and for whom.
var elsewhere = map[string]string{
	"plan/units/duration.go":      "this package",
	"plan/plan.go":                "the journal's own form",
	"linux/hookfence.go":          "an argument of our own child process",
	"ec2/sandbox/control.go":      "faults.json",
	"ec2/sandbox/fault.go":        "faults.json",
	"ec2/sandbox/fault_json.go":   "faults.json",
	"cmd/internal/bench/boot.go":  "an environment variable",
	"cmd/internal/bench/drill.go": "an environment variable",

	"cmd/internal/bench/restore.go": "an environment variable",
}

// Each duration that people read is written by this package: no other code gives one to a formatter, or makes text of it.
func TestNobodyElseWritesDurations(t *testing.T) {
	found := map[string]bool{}
	check(t, func(at token.Position, what string) {
		if elsewhere[at.Filename] == "" {
			t.Errorf("%s: %s; use package units", at, what)
		}
		found[at.Filename] = true
	})
	for name := range elsewhere {
		if !found[name] && !strings.HasPrefix(name, "plan/units/") {
			t.Errorf("%s does not write durations any more; take it off the list", name)
		}
	}
}

// check type-checks what is ours, without tests, and tells of each duration that becomes text.
func check(t *testing.T, tell func(token.Position, string)) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", `{{.ImportPath}}|{{.Export}}|{{.Dir}}|{{join .GoFiles ","}}`, "snaptastic/...").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		f := strings.Split(line, "|")
		exports[f[0]] = f[1]
	}
	fset := token.NewFileSet()
	compiled := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, line := range lines {
		f := strings.Split(line, "|")
		if !strings.HasPrefix(f[0], "snaptastic/") {
			continue
		}
		var files []*ast.File
		for _, name := range strings.Split(f[3], ",") {
			file, err := parser.ParseFile(fset, filepath.Join(f[2], name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
		conf := types.Config{Importer: compiled}
		if _, err := conf.Check(f[0], fset, files, info); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				if call, is := n.(*ast.CallExpr); is {
					if what := written(info, call); what != "" {
						at := fset.Position(call.Pos())
						at.Filename, _ = filepath.Rel(root, at.Filename)
						tell(at, what)
					}
				}
				return true
			})
		}
	}
}

// written tells how a call makes text of a duration, or nothing.
func written(info *types.Info, call *ast.CallExpr) string {
	method, isMethod := call.Fun.(*ast.SelectorExpr)
	if isMethod && isDuration(info.TypeOf(method.X)) && method.Sel.Name == "String" {
		return "calls String of a duration"
	}
	sig, is := info.TypeOf(call.Fun).(*types.Signature)
	if !is {
		return "" // a conversion
	}
	for i, arg := range call.Args {
		into := parameter(sig, i)
		if into == nil || !types.IsInterface(into) {
			continue
		}
		if isDuration(info.TypeOf(arg)) {
			return "gives a duration to a formatter"
		}
		if inner, is := arg.(*ast.CallExpr); is && isMethod {
			m, is := inner.Fun.(*ast.SelectorExpr)
			if pkg, named := method.X.(*ast.Ident); is && named && pkg.Name == "fmt" && isDuration(info.TypeOf(m.X)) {
				return "gives " + m.Sel.Name + " of a duration to a formatter"
			}
		}
	}
	return ""
}

func parameter(sig *types.Signature, i int) types.Type {
	last := sig.Params().Len() - 1
	if !sig.Variadic() || i < last {
		if i > last {
			return nil
		}
		return sig.Params().At(i).Type()
	}
	if list, is := sig.Params().At(last).Type().(*types.Slice); is {
		return list.Elem()
	}
	return nil
}

func isDuration(t types.Type) bool {
	if p, is := t.(*types.Pointer); is {
		t = p.Elem()
	}
	return t != nil && (t.String() == "time.Duration" || t.String() == "snaptastic/plan.Duration")
}
