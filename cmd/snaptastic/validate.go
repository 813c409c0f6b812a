package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
)

func validateCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "validate [FILE…]",
		Short: "Check settings files without EC2",
		Long: `Checks settings: syntax, names, values and whether they fit together. It needs neither
EC2 nor an instance nor root, so it can run in CI. What depends on userdata is checked
with --userdata; without it, and for what depends on the instance, values are taken as
unknown and not checked. env is this process's environment.

Several FILEs are read as one, as those in /etc/snaptastic are. Without FILE, the settings
that the other commands would read are checked.

Exit codes: 0 valid, 2 not valid.`,
		RunE: func(_ *cobra.Command, args []string) error {
			paths, err := args, error(nil)
			if len(args) == 0 {
				if paths, err = settings.Find(a.flags.settings, os.Getenv); err != nil {
					return err
				}
			}
			ctx := settings.Context{UserDataFrom: "--userdata", Environ: os.Environ()}
			if ctx.UserData, err = a.userdataFlag(); err != nil {
				return err
			}
			if ctx.UserData != nil {
				if err := settings.CheckUserdata(ctx.UserData, "--userdata"); err != nil {
					return usageError("%w", err)
				}
			}
			file, v, err := validate(paths, ctx)
			if err != nil {
				return err
			}
			return a.showValidation(paths, file, v)
		}}
}

// validate loads and evaluates; the error is one of a file that cannot be read.
func validate(paths []string, ctx settings.Context) (*settings.File, settings.Validation, error) {
	file, err := settings.Load(paths)
	if mistakes, is := errors.AsType[*settings.Error](err); is {
		return nil, settings.Validation{Report: mistakes, Failed: true}, nil
	}
	if err != nil {
		return nil, settings.Validation{}, usageError("%w", err)
	}
	return file, file.Validate(ctx), nil
}

func (a *app) showValidation(paths []string, file *settings.File, v settings.Validation) error {
	var names []string
	if file != nil {
		names = file.Names()
	}
	if a.json() {
		err := render.JSON(a.stdout, v.View(paths, names))
		if v.Failed && err == nil {
			return exitCode(exitUsage)
		}
		return err
	}
	if v.Failed {
		return v.Report
	}
	if v.Report != nil {
		if err := v.Report.Render(a.stderr, 0, a.style(a.stderrFile).Color); err != nil {
			return err
		}
	}
	says := "no snapshotter"
	if len(names) > 0 {
		says = strings.Join(names, ", ")
	}
	text := fmt.Sprintf("%s: valid: %s\n", strings.Join(paths, ", "), says)
	if v.Unknowns > 0 {
		text += fmt.Sprintf("not checked: %d values that depend on userdata or the instance; --userdata gives the userdata\n", v.Unknowns)
	}
	_, err := render.Cleaned(a.stdout).Write([]byte(text))
	return err
}
