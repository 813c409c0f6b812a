package report

import (
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"snaptastic/cmd/internal/render"
)

// hostile are values that would be markup if they could.
var hostile = []string{"</script><script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, "<!--", "]]>", "&lt;b&gt;", "`", "a\x00b\x1b[31mc\x7f", "\u202eevil\u2066", "bad \xff\xfe", "</title></style>", "javascript:alert(1)", "\r\n\t", "𝓗ello 雪"}

func FuzzEscapedTextIsTextAlone(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := escape(s)
		if strings.ContainsAny(got, "<>\"'`") {
			t.Fatalf("%q is written as %q", s, got)
		}
		for rest := got; ; {
			_, after, found := strings.Cut(rest, "&")
			if !found {
				break
			}
			known := false
			for _, ref := range []string{"amp;", "lt;", "gt;", "#34;", "#39;", "#96;"} {
				known = known || strings.HasPrefix(after, ref)
			}
			if !known {
				t.Fatalf("%q is written as %q", s, got)
			}
			rest = after
		}
		if !utf8.ValidString(got) {
			t.Fatalf("%q is written as %q, which is not UTF-8", s, got)
		}
		var want strings.Builder // what can be seen of it comes back
		for _, r := range s {
			switch {
			case r == '\n':
				want.WriteRune(r)
			case r == '\t':
				want.WriteRune(' ')
			case render.Printable(r) == r:
				want.WriteRune(r)
			}
		}
		if back := html.UnescapeString(got); back != want.String() {
			t.Fatalf("%q is read back as %q, want %q", s, back, want.String())
		}
	})
}

// Markup is what the source says and nothing that was computed: no lit is converted from a string, and none is declared by a
// parameter that a string could be handed to.
func TestOnlyConstantsAreMarkup(t *testing.T) {
	files, _ := filepath.Glob("*.go")
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "lit" {
				switch of := call.Args[0].(type) {
				case *ast.BasicLit:
				case *ast.IndexExpr: // one of several constants
					if _, constant := of.X.(*ast.CompositeLit); !constant {
						t.Errorf("%s: a value becomes markup", set.Position(call.Pos()))
					}
				default:
					t.Errorf("%s: a value becomes markup", set.Position(call.Pos()))
				}
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "WriteString" && path != "write.go" && path != "page.go" {
				t.Errorf("%s: writes past the escaping", set.Position(call.Pos()))
			}
			return true
		})
	}
}

func TestTheWriterWantsAValueForEachPlace(t *testing.T) {
	for name, write := range map[string]func(*writer){
		"too few":  func(w *writer) { w.f(`<a {} {}>`, "x") },
		"too many": func(w *writer) { w.f(`<a {}>`, "x", "y") },
		"no type":  func(w *writer) { w.f(`{}`, struct{}{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was written", name)
				}
			}()
			write(&writer{})
		}()
	}
}
