package settings

import (
	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

// A Validation is what a check of a settings file without an instance came to.
type Validation struct {
	Report   *Error // mistakes and warnings; nil: none
	Failed   bool   // at least one is a mistake
	Unknowns int    // values that were not checked, because they depend on userdata or the instance
}

// Validate evaluates all snapshotters as far as that is possible, and checks that snapshots can be made. Without
// userdata in ctx, and without an instance, what depends on them is not checked. It asks nobody.
func (f *File) Validate(ctx Context) Validation {
	ctx.Lenient, ctx.Instance, ctx.UserDataFunc = true, nil, nil
	var all hcl.Diagnostics
	unknowns := 0
	for _, block := range f.snapshotters {
		spec, diags, n, err := f.evaluate(block, ctx)
		if err != nil {
			diags = append(diags, mistake(block.DefRange, "Cannot evaluate", "%v.", err))
		}
		unknowns += n
		if all = append(all, diags...); diags.HasErrors() || n > 0 {
			continue
		}
		for _, op := range recipe.Operations() {
			if op.Check == nil || !op.LabelsSnapshots { // other operations may be of no use to a snapshotter; this is what it is for
				continue
			}
			if err := op.Check(spec); err != nil {
				all = append(all, mistake(block.DefRange, "Cannot "+op.Name, "The snapshotter %q cannot be used for %s: %v.", spec.Name, op.Name, err))
			}
		}
	}
	if len(all) == 0 {
		return Validation{Unknowns: unknowns}
	}
	return Validation{Report: f.report(all), Failed: all.HasErrors(), Unknowns: unknowns}
}

// A ValidationView is a validation for programs. Its JSON is part of the command line's contract.
type ValidationView struct {
	Valid        bool             `json:"valid"`
	Files        []string         `json:"files"`
	Snapshotters []string         `json:"snapshotters"`
	NotChecked   int              `json:"not_checked"`
	Diagnostics  []DiagnosticView `json:"diagnostics"`
}

// A DiagnosticView is one mistake or warning.
type DiagnosticView struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
}

// View is the validation of files that declare these snapshotters.
func (v Validation) View(files, snapshotters []string) ValidationView {
	out := ValidationView{Valid: !v.Failed, Files: files, Snapshotters: append([]string{}, snapshotters...), NotChecked: v.Unknowns, Diagnostics: []DiagnosticView{}}
	if v.Report == nil {
		return out
	}
	for _, d := range v.Report.diags {
		one := DiagnosticView{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			one.Severity = "warning"
		}
		if d.Subject != nil {
			one.File, one.Line, one.Column = d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column
		}
		out.Diagnostics = append(out.Diagnostics, one)
	}
	return out
}
