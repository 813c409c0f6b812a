package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Texts of every package name commands and flags: hints, errors, help. Each one that they name exists, in that spelling, and a
// command that is quoted takes the flags that stand behind it.
func TestCommandsAndFlagsThatTextsNameExist(t *testing.T) {
	root := rootCommand(&app{})
	known := everyFlag(root)
	known["readonly"] = true // of btrfs check
	seen := 0
	for at, text := range textsOf(t) {
		for _, command := range commandsIn(text) {
			seen++
			for _, problem := range notThere(root, command) {
				t.Errorf("%s: %s in %q", at, problem, text)
			}
		}
		for _, flag := range flagsIn(withoutForeign(text)) {
			seen++
			if !known[flag] {
				t.Errorf("%s: no command has the flag --%s: %q", at, flag, text)
			}
		}
	}
	if seen < 150 {
		t.Errorf("only %d commands and flags were found", seen)
	}
}

// The test above must be able to fail.
func TestATextWithAMistakeIsFound(t *testing.T) {
	root := rootCommand(&app{})
	for text, want := range map[string]string{
		"run `snaptastic resume %s --redo %s`":        "",
		"`snaptastic run restore db --set x` does it": "",
		"run `snaptastic resumes`":                    `"resumes" is not a command`,
		"run `snaptastic run mountt NAME`":            `"mountt" is not a command of snaptastic run`,
		"run `snaptastic status --delete-volumes`":    "snaptastic status has no flag --delete-volumes",
		"run snaptastic foo to do it":                 `"foo" is not a command`,
		"use \"snaptastic run verify --sets 1\"":      "snaptastic run verify has no flag --sets",
	} {
		var got []string
		for _, command := range commandsIn(text) {
			got = append(got, notThere(root, command)...)
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if everyFlag(root)["deletevolumes"] || !everyFlag(root)["delete-volumes"] {
		t.Error("flags are not told apart")
	}
	if got := flagsIn(withoutForeign("`btrfs check --readonly` fails; use --set=x or --set")); strings.Join(got, " ") != "set set" {
		t.Errorf("flags %q", got)
	}
}

var (
	quotedCommand = regexp.MustCompile("[`\"]snaptastic( [^`\"]*)[`\"]")
	plainCommand  = regexp.MustCompile(`(?:^|[\s("])snaptastic ([a-z][a-z-]*)`)
	flagWord      = regexp.MustCompile(`(?:^|[\s"'(\[=/])--([a-z][a-z0-9-]+)`)
	foreign       = regexp.MustCompile(`(?m)^aws .*`) // lines to paste
	word          = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// commandsIn are the words behind snaptastic, of quoted commands with all that follows, of others only the first.
func commandsIn(text string) (all []string) {
	for _, m := range quotedCommand.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	for _, m := range plainCommand.FindAllStringSubmatch(quotedCommand.ReplaceAllString(text, ""), -1) {
		all = append(all, m[1])
	}
	return all
}

func flagsIn(text string) (all []string) {
	for _, m := range flagWord.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// withoutForeign leaves out the quoted commands, ours as well: their flags are looked at with the command.
func withoutForeign(text string) string {
	parts := strings.Split(foreign.ReplaceAllString(text, ""), "`")
	for i := 1; i < len(parts)-1; i += 2 {
		if !strings.HasPrefix(parts[i], "--") {
			parts[i] = ""
		}
	}
	return quotedCommand.ReplaceAllString(strings.Join(parts, "`"), "")
}

// notThere says what of a command there is not.
func notThere(root *cobra.Command, command string) (problems []string) {
	at := root
	words := strings.Fields(command)
	for len(words) > 0 && at.HasSubCommands() && word.MatchString(words[0]) {
		next, _, err := at.Find(words[:1])
		if err != nil || next == at {
			of := ""
			if at != root {
				of = " of " + at.CommandPath()
			}
			return []string{strconv.Quote(words[0]) + " is not a command" + of}
		}
		at, words = next, words[1:]
	}
	for _, flag := range flagsIn(strings.Join(words, " ")) {
		if flag != "help" && at.Flag(flag) == nil && at.InheritedFlags().Lookup(flag) == nil {
			problems = append(problems, at.CommandPath()+" has no flag --"+flag)
		}
	}
	return problems
}

func everyFlag(root *cobra.Command) map[string]bool {
	known := map[string]bool{"help": true}
	var each func(*cobra.Command)
	each = func(c *cobra.Command) {
		note := func(f *pflag.Flag) { known[f.Name] = true }
		c.Flags().VisitAll(note)
		c.PersistentFlags().VisitAll(note)
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	each(root)
	return known
}

// textsOf are the texts of all code that is shipped, by where they begin. What is put together of several is one text, with %s
// for what is not written out.
func textsOf(t *testing.T) map[token.Position]string {
	texts := map[token.Position]string{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(repository, path)
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && rel != "." {
			return fs.SkipDir // a program with commands of its own
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || rel == "docs" || rel == "packaging" || rel == "cmd/internal/bench" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.BinaryExpr:
				if text, has := textOf(n); has {
					texts[fset.Position(n.Pos())] = text
					return false
				}
			case *ast.BasicLit:
				if text, has := textOf(n); has {
					texts[fset.Position(n.Pos())] = text
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// textOf joins the literals of an expression; has is false where there are none, or where they are no text for people.
func textOf(e ast.Expr) (text string, has bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil && !strings.Contains(text, "\x00")
		}
	case *ast.ParenExpr:
		return textOf(e.X)
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		left, l := textOf(e.X)
		right, r := textOf(e.Y)
		if !l {
			left = "%s"
		}
		if !r {
			right = "%s"
		}
		return left + right, l || r
	}
	return "", false
}
