package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// overADay is the time that an instance's CPU is looked at.
const overADay = 24 * time.Hour

func cpuFlag(c *cobra.Command, below *float64) {
	c.Flags().Float64Var(below, "cpu-below", 5, "report running instances whose CPU was used less than so many `percent` over a day")
}

// cleanInstances reports, and stops nothing: an instance that does little may be a standby.
func cleanInstances(a *app) *cobra.Command {
	j := &cleaning{app: a, what: "instances"}
	c := &cobra.Command{Use: "instances [NAME]", Short: "Report running instances that do little; stops none", Args: between(0, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			j.name = strings.Join(args, "")
			return j.report(c.Context())
		}}
	cpuFlag(c, &j.cpuBelow)
	c.Flags().BoolVar(&j.dryRun, "dry-run", false, "accepted as by the other clean-ups; this one changes nothing anyway")
	return c
}

func (j *cleaning) report(ctx context.Context) error {
	filter, err := j.filter(ctx)
	if err != nil {
		return err
	}
	cloud, err := j.app.cloud(ctx)
	if err != nil {
		return err
	}
	now, err := cloudTime(ctx, cloud)
	if err != nil {
		return err
	}
	return j.reportInstances(ctx, cloud, now, filter)
}

// idle is an instance that does little, or of which nobody knows.
type idle struct {
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Launched time.Time         `json:"launched"`
	CPU      *float64          `json:"cpu_percent"` // average over a day; null: CloudWatch has no data
	Tags     map[string]string `json:"tags"`
}

func (j *cleaning) reportInstances(ctx context.Context, cloud *ec2.Client, now time.Time, filter map[string]string) error {
	all, err := cloud.Instances(ctx, "")
	if err != nil {
		return err
	}
	found, running, unknown := []idle{}, 0, 0
	for _, i := range all {
		if i.State != "running" || !snapset.HasTags(i.Tags, filter) {
			continue
		}
		running++
		percent, known, err := cloud.AverageCPU(ctx, i.ID, now, overADay)
		if err != nil {
			return err
		}
		one := idle{ID: i.ID, Type: i.Type, Launched: i.Launched, Tags: i.Tags}
		if known {
			if percent >= j.cpuBelow {
				continue
			}
			one.CPU = &percent
		} else {
			unknown++
		}
		found = append(found, one)
	}
	a := j.app
	if a.json() {
		if j.op != nil {
			return nil // the summary is the one document
		}
		return render.JSON(a.stdout, map[string]any{"operation": "clean instances", "snapshotter": j.name, "running": running, "cpu_below_percent": j.cpuBelow, "instances": found})
	}
	if len(found) == 0 {
		_, err := fmt.Fprintf(a.stdout, "none of %s used less than %g %% CPU over the last day\n", number(running, "running instance"), j.cpuBelow)
		return err
	}
	var rows [][]string
	for _, i := range found {
		cpu := "no data"
		if i.CPU != nil {
			cpu = fmt.Sprintf("%.1f %%", *i.CPU)
		}
		rows = append(rows, []string{i.ID, i.Type, cpu, made(i.Launched, now), whose(snapset.Decision{FilterTags: i.Tags})})
	}
	if err := render.Table(a.stdout, []string{"LITTLE USED", "TYPE", "CPU", "RUNNING FOR", "TAGS"}, rows, a.style(a.stdoutFile)); err != nil {
		return err
	}
	known := ""
	if unknown > 0 {
		known = fmt.Sprintf(", of %d there are no data", unknown)
	}
	_, err = fmt.Fprintf(a.stdout, "%d of %s used less than %g %% CPU over the last day%s; none was stopped\n", len(found)-unknown, number(running, "running instance"), j.cpuBelow, known)
	return err
}
