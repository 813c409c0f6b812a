package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/render/report"
)

func planCommand(a *app) *cobra.Command {
	return operationsCommand("plan", "Show what an operation would do now; read-only", func(op *engine.Operation) *cobra.Command { return planOperation(a, op) })
}

func planOperation(a *app, op *engine.Operation) *cobra.Command {
	r := engine.PlanRequest{Operation: op.Name}
	var format, page string
	var detailed bool
	c := &cobra.Command{Use: op.Name + " NAME", Short: "Show what `run " + op.Name + "` would do", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if format != "tree" && format != "dot" && format != "mermaid" {
				return usageError("--format %q: must be tree, dot or mermaid", format)
			}
			if detailed && format != "tree" {
				return usageError("--detailed-exitcode and --format %s cannot be combined: nothing is looked at", format)
			}
			r.Name, r.SkipPreview = args[0], format != "tree"
			f, err := a.Plan(c.Context(), r)
			if f.Plan == nil {
				return err
			}
			if page != "" {
				err = errors.Join(a.writePage(page, func(w io.Writer) error { return report.Plan(w, f.Plan, f.Previews) }), err)
			} else {
				err = errors.Join(a.showPlan(f, format), err)
			}
			if detailed && err == nil && f.Changes() {
				return exitCode(exitChanges)
			}
			return err
		}}
	a.timeoutFlag(c, readTimeout)
	r.Options = optionFlags(c, op)
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, fmt.Sprintf("exit with %d if the operation would change something, and with 0 if not", exitChanges))
	c.Flags().StringVar(&format, "format", "tree", "`format`: tree, dot or mermaid (dot and mermaid do not query EC2)")
	c.Flags().StringVar(&page, "html", "", "write the plan as an HTML page with its graph to `FILE`; - is stdout")
	return c
}

func (a *app) showPlan(f engine.PlanResult, format string) error {
	switch {
	case format == "dot":
		return render.PlanDot(a.stdout, f.Plan)
	case format == "mermaid":
		return render.PlanMermaid(a.stdout, f.Plan)
	case a.json():
		return render.PlanJSON(a.stdout, f.Plan, f.Previews)
	}
	var err error
	if len(f.Plan.Steps) > 0 {
		err = render.PlanTree(a.stdout, f.Plan, f.Previews, a.style(a.stdoutFile))
	}
	for _, n := range f.Notes {
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "note: %s\n", render.Clean(n))
		}
	}
	for _, u := range f.Unfinished {
		if then := then[u.Action]; err == nil {
			_, err = fmt.Fprintf(a.stdout, "\nnote: run %s of this operation is unfinished (%s): %s\n", u.Run, u.Was(), then)
		}
	}
	return err
}

// then says what a new run does with an unfinished one.
var then = map[engine.Action]string{
	engine.Continue:   "`run` will resume it",
	engine.Undo:       "`run` will undo its unfinished lanes first",
	engine.UndoUnused: "`run` will undo its unfinished lanes first",
	engine.Wait:       "`run` will be refused until that run is resumed or rolled back",
	engine.SetAside:   "`run` moves it to damaged/, as it belongs to another instance",
}
