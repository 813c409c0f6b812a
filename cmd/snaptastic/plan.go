package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps/recipe"
)

func planCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "plan mount|snapshot|unmount NAME", Short: "Show what an operation would do, as things are now; change nothing", Args: unknownOperation}
	for _, op := range []string{"mount", "snapshot", "unmount"} {
		c.AddCommand(planOperation(a, op))
	}
	c.RunE = func(c *cobra.Command, args []string) error { return unknownOperation(c, args) }
	return c
}

func planOperation(a *app, op string) *cobra.Command {
	var o recipe.Options
	var format string
	c := &cobra.Command{Use: op + " NAME", Short: "Show what `run " + op + "` would do", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.showPlan(c.Context(), op, args[0], o, format)
		}}
	a.timeoutFlag(c, lookTime)
	optionFlags(c, op, &o)
	c.Flags().StringVar(&format, "format", "tree", "`format`: tree, dot or mermaid (the last two without looking)")
	return c
}

func (a *app) showPlan(ctx context.Context, op, name string, o recipe.Options, format string) error {
	if format != "tree" && format != "dot" && format != "mermaid" {
		return usageError("--format %q is none of tree, dot, mermaid", format)
	}
	p, _, err := a.compile(ctx, op, name, o)
	if err != nil {
		return err
	}
	switch format {
	case "dot":
		return render.PlanDot(a.stdout, p)
	case "mermaid":
		return render.PlanMermaid(a.stdout, p)
	}
	if err := a.patiently(ctx, a.client.Ready); err != nil {
		return err
	}
	h, err := a.handlers(ctx, nil, p, nil)
	if err != nil {
		return err
	}
	if err := a.needSharedMounts(p); err != nil {
		a.log.Warn("`run` would be refused", "because", err)
	}
	seen, err := runner.Foresee(ctx, p, h)
	if err == nil {
		err = context.Cause(ctx) // what was seen may be half of it
	}
	if err != nil {
		return err
	}
	previews := render.Previews(p, seen)
	if a.json() {
		return errors.Join(render.PlanJSON(a.stdout, p, previews), wouldFail(p, seen))
	}
	if err := render.PlanTree(a.stdout, p, previews, a.style(a.stdoutFile)); err != nil {
		return err
	}
	return errors.Join(a.noteUnfinished(p), wouldFail(p, seen))
}

// wouldFail is the error of a plan of which a step would fail as things are now. The plan has shown it.
func wouldFail(p *plan.Plan, seen map[plan.StepID]runner.Preview) error {
	for i := range p.Steps {
		if v := seen[p.Steps[i].ID]; v.Err != nil && !v.Skip && !p.Steps[i].Tolerated {
			return &codeError{code: exitSomeLanes, err: v.Err, said: true}
		}
	}
	return nil
}

// noteUnfinished says when `run` would not begin anew. It only reads, and makes
// no state folder.
func (a *app) noteUnfinished(p *plan.Plan) error {
	store, err := a.stateForLooking()
	if err != nil {
		return nil // `run` will say it
	}
	runs, err := store.Unfinished()
	if err != nil {
		return nil
	}
	for _, r := range runs {
		if !unfinishedOf(r, p) {
			continue
		}
		what := "`run` first undoes what it left unfinished"
		switch same := r.Digest == p.Digest() && !r.RollingBack; {
		case same && p.Resumption != plan.ContinueThisBoot:
			what = "`run` takes it up where it stands"
		case p.Resumption == plan.Ask:
			what = "`run` is refused until that one is finished or undone"
		}
		if _, err := fmt.Fprintf(a.stdout, "\nnote: run %s of this operation is unfinished (%s): %s\n", r.Run, standing(r), what); err != nil {
			return err
		}
	}
	return nil
}
