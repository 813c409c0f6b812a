package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan/units"
)

func cpuFlag(c *cobra.Command, below *float64) {
	c.Flags().Float64Var(below, "cpu-below", 5, "report running instances with an average CPU below this `percent` over a day")
}

func cleanInstances(a *app) *cobra.Command {
	var below float64
	c := &cobra.Command{Use: "instances [NAME]", Short: "Report idle running instances; stops none", Args: between(0, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			found, err := a.Instances(c.Context(), name, below)
			switch {
			case err != nil:
				return err
			case a.json():
				return render.JSON(a.stdout, render.InstancesView{Operation: "clean instances", Snapshotter: name, Running: found.Running, CPUBelow: below, Instances: found.Idle})
			}
			return a.showInstances(found)
		}}
	cpuFlag(c, &below)
	c.Flags().Bool("dry-run", false, "accepted for consistency; this command changes nothing")
	return c
}

func (a *app) showInstances(r engine.Instances) error {
	running := units.Count(r.Running, "running instance", "running instances")
	if len(r.Idle) == 0 {
		_, err := fmt.Fprintf(a.stdout, "none of %s used less than %g %% CPU over the last day\n", running, r.CPUBelow)
		return err
	}
	var rows [][]string
	unknown := 0
	for _, i := range r.Idle {
		cpu := "no data"
		if i.CPU != nil {
			cpu = fmt.Sprintf("%.1f %%", *i.CPU)
		} else {
			unknown++
		}
		rows = append(rows, []string{i.ID, i.Type, cpu, made(i.Launched, r.At), ownerOf("", i.Tags)})
	}
	if err := render.Table(a.stdout, []string{"IDLE INSTANCE", "TYPE", "CPU", "UPTIME", "TAGS"}, rows, a.style(a.stdoutFile)); err != nil {
		return err
	}
	known := ""
	if unknown > 0 {
		known = fmt.Sprintf(", no data for %d", unknown)
	}
	_, err := fmt.Fprintf(a.stdout, "%d of %s used less than %g %% CPU over the last day%s; none was stopped\n", len(r.Idle)-unknown, running, r.CPUBelow, known)
	return err
}
