package main

import (
	"context"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
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
	h, err := a.handlers(ctx, nil, p, nil)
	if err != nil {
		return err
	}
	seen, err := runner.Foresee(ctx, p, h)
	if err != nil {
		return err
	}
	previews := render.Previews(p, seen)
	if a.json() {
		return render.PlanJSON(a.stdout, p, previews)
	}
	return render.PlanTree(a.stdout, p, previews, a.style(a.stdoutFile))
}
