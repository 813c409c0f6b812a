package main

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
)

// Exit codes of a Nagios plugin.
// Source: https://nagios-plugins.org/doc/guidelines.html
const (
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// checkFlags are those of check.
type checkFlags struct {
	maxAge string
	format string

	maxVerifyAge string
	// The original's filters, for where no settings are at hand.
	environment, cluster, role string
}

func checkCommand(a *app) *cobra.Command {
	var o checkFlags
	c := &cobra.Command{Use: "check [NAME]", Aliases: []string{"check-backups"}, Args: between(0, "NAME"),
		Short: "Exit 1 if a volume in use has no recent restorable snapshot",
		Long: `Checks the snapshots of all volumes in use, on any instance of the account. A gap is
a volume, or a declared mount point, without a completed, restorable snapshot that is
not older than --max-age. A declared mount point with no volume in use is also a gap.

With NAME, checks that snapshotter; without it, all in the settings file. With
--environment, --cluster or --role, checks every volume with these tags, without
any settings.

Exit codes: 0 no gap, 1 a gap or a failure. With --format nagios they are those of
a Nagios plugin: 0 OK, 2 CRITICAL (a gap), 3 UNKNOWN (check failed).`,
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			err := a.TimeUp(c.Context(), a.check(c.Context(), name, o))
			if o.format == "nagios" {
				return a.nagiosUnknown(err)
			}
			return err
		}}
	a.timeoutFlag(c, checkTime)
	f := c.Flags()
	f.StringVar(&o.maxAge, "max-age", "26h", "maximum `age` of a snapshot: 30s, 15m, 26h, 7d, 2w")
	f.StringVar(&o.maxVerifyAge, "max-verify-age", "", "maximum `age` of the last successful drill, such as 8d; by default as verify { every } in the settings says")
	f.StringVar(&o.format, "format", "text", "`format`: text, nagios or prometheus (for the textfile collector)")
	f.StringVar(&o.environment, "environment", "", "check volumes with this environment `tag`")
	f.StringVar(&o.cluster, "cluster", "", "check volumes with this cluster `tag`")
	f.StringVar(&o.role, "role", "", "check volumes with this role `tag`")
	return c
}

// tags are the filter tags that the flags give.
func (o checkFlags) tags() map[string]string {
	tags := map[string]string{"environment": o.environment, "cluster": o.cluster, "role": o.role}
	maps.DeleteFunc(tags, func(_, value string) bool { return value == "" })
	return tags
}

func (a *app) check(ctx context.Context, name string, o checkFlags) error {
	maxAge, err := durationFlag("max-age", o.maxAge, time.Second)
	switch {
	case err != nil:
		return err
	case o.format != "text" && o.format != "nagios" && o.format != "prometheus":
		return usageError("--format %q: must be text, nagios or prometheus", o.format)
	case o.format != "text" && a.json():
		return usageError("--format %s and --output json cannot be combined", o.format)
	}
	var maxVerifyAge time.Duration
	if o.maxVerifyAge != "" {
		if maxVerifyAge, err = durationFlag("max-verify-age", o.maxVerifyAge, 0); err != nil {
			return err
		}
	}
	result, err := a.Check(ctx, engine.CheckRequest{Name: name, Tags: o.tags(), MaxAge: maxAge, MaxVerifyAge: maxVerifyAge})
	if err != nil && len(result.Gaps()) == 0 {
		return err
	}
	write := render.CheckJSON
	switch {
	case a.json():
	case o.format == "nagios":
		if write = render.CheckNagios; err != nil {
			err = exitCode(nagiosCritical)
		}
	case o.format == "prometheus":
		write = render.CheckPrometheus
	default:
		return errors.Join(render.CheckText(a.stdout, result, a.style(a.stdoutFile)), err)
	}
	return errors.Join(write(a.stdout, result), err)
}

// nagiosUnknown tells a check that failed as a plugin does.
func (a *app) nagiosUnknown(err error) error {
	if _, told := errors.AsType[exitCode](err); err == nil || told {
		return err
	}
	text := err.Error()
	if diags, ok := errors.AsType[*settings.Error](err); ok {
		var b strings.Builder
		_ = diags.Render(&b, 0, false)
		text = b.String()
	}
	if hint := engine.HintOf(err); hint != "" && !strings.Contains(text, hint) {
		text += "; " + hint
	}
	if err := render.NagiosUnknown(a.stdout, text); err != nil {
		return err
	}
	return exitCode(nagiosUnknown)
}
