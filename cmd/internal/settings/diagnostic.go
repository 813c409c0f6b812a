package settings

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// maxShown bounds what a file full of garbage prints.
const (
	maxShown  = 20
	maxSource = 4096 // bytes of source lines shown for one mistake

	maxExplained = 5 * maxShown // the same mistake is said once
)

// An Error is what is wrong with the settings, each mistake with its place in
// the file and what was expected there. The same type carries warnings.
type Error struct {
	diags   hcl.Diagnostics
	sources map[string]*hcl.File
}

// Error gives every mistake as HCL shows it, without colour: severity and
// summary, file and line, the source line, the expectation.
func (e *Error) Error() string {
	var text strings.Builder
	_ = e.Render(&text, 0, false) // a strings.Builder never fails
	return strings.TrimRight(text.String(), "\n")
}

// Unwrap gives the diagnostics themselves.
func (e *Error) Unwrap() error { return e.diags }

// Diagnostics are the mistakes, in the order of the files.
func (e *Error) Diagnostics() hcl.Diagnostics { return slices.Clone(e.diags) }

// Render writes what Error gives, wrapped at width columns (0: not at all)
// and with terminal colours when color is set.
func (e *Error) Render(w io.Writer, width uint, color bool) error {
	shown := e.diags
	if len(shown) > maxShown {
		shown = shown[:maxShown]
	}
	withSource := hcl.NewDiagnosticTextWriter(w, e.sources, width, color)
	without := hcl.NewDiagnosticTextWriter(w, nil, width, color)
	for _, diag := range shown {
		writer := withSource
		if e.longLine(diag.Subject) {
			writer = without
		}
		if err := writer.WriteDiagnostic(diag); err != nil {
			return err
		}
	}
	if more := len(e.diags) - len(shown); more > 0 {
		_, err := fmt.Fprintf(w, "… and %d more.\n", more)
		return err
	}
	return nil
}

// longLine says whether the source lines of a diagnostic are more than a
// terminal should be given.
func (e *Error) longLine(at *hcl.Range) bool {
	if at == nil || e.sources[at.Filename] == nil {
		return false
	}
	src := e.sources[at.Filename].Bytes
	start, end := min(at.Start.Byte, len(src)), min(at.End.Byte, len(src))
	first := bytes.LastIndexByte(src[:start], '\n') + 1
	last := len(src)
	if next := bytes.IndexByte(src[end:], '\n'); next >= 0 {
		last = end + next
	}
	return last-first > maxSource
}

// Lines gives each mistake as one line, `FILE:LINE: summary: detail`, for the
// log and for tables.
func (e *Error) Lines() []string {
	var lines []string
	for _, diag := range e.diags {
		line := diag.Summary
		if diag.Detail != "" {
			line += ": " + diag.Detail
		}
		if diag.Subject != nil {
			line = place(*diag.Subject) + ": " + line
		}
		lines = append(lines, line)
	}
	return lines
}

// fail makes an error of diags, nil if none of them is one.
func (f *File) fail(diags hcl.Diagnostics) error {
	if !diags.HasErrors() {
		return nil
	}
	return f.report(diags)
}

func (f *File) report(diags hcl.Diagnostics) *Error {
	for i, diag := range diags {
		if i < maxExplained {
			explain(diag)
		} else if diag.Expression != nil { // nobody reads that far
			diag.Detail, diag.Expression, diag.EvalContext = "", nil, nil
		}
	}
	diags = distinct(diags)
	sort.SliceStable(diags, func(a, b int) bool { return before(diags[a].Subject, diags[b].Subject) })
	return &Error{diags: diags, sources: f.sources}
}

// distinct drops what is said twice: each turn of a dynamic block makes the
// same mistake on the same line.
func distinct(diags hcl.Diagnostics) hcl.Diagnostics {
	type key struct{ at, summary, detail string }
	seen := map[key]bool{}
	var out hcl.Diagnostics
	for _, diag := range diags {
		k := key{"", diag.Summary, diag.Detail}
		if diag.Subject != nil {
			k.at = diag.Subject.String()
		}
		if !seen[k] {
			out = append(out, diag)
		}
		seen[k] = true
	}
	return out
}

func before(a, b *hcl.Range) bool {
	switch {
	case a == nil || b == nil:
		return a == nil && b != nil
	case a.Filename != b.Filename:
		return a.Filename < b.Filename
	}
	return a.Start.Byte < b.Start.Byte
}

// mistake is an error-level diagnostic at a range.
func mistake(at hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(detail, args...), Subject: &at}
}

// caution is a warning-level diagnostic at a range.
func caution(at hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	diag := mistake(at, summary, detail, args...)
	diag.Severity = hcl.DiagWarning
	return diag
}

func place(at hcl.Range) string { return fmt.Sprintf("%s:%d", at.Filename, at.Start.Line) }

// list writes `a, b and c`.
func list(words []string, last string) string {
	switch n := len(words); n {
	case 0:
		return "none"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " " + last + " " + words[n-1]
	}
}

func quoted(words []string) []string {
	out := make([]string, 0, len(words))
	for _, word := range words {
		out = append(out, fmt.Sprintf("%q", word))
	}
	return out
}

const maxWord = 100 // bytes; the comparison takes the product of two

// Nearest is the known word that a mistyped one most likely meant, or "".
func Nearest(word string, known []string) string {
	best, bestDistance := "", 3
	for _, candidate := range known {
		if len(word) > maxWord || len(candidate) > maxWord {
			continue
		}
		if distance := levenshtein.Distance(word, candidate, nil); distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	return best
}
