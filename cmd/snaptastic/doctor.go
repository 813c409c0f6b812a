package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/ec2"
	"snaptastic/steps/recipe"
)

func doctorCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "doctor", Aliases: []string{"test"}, Args: exactly(),
		Short: "Look at settings, credentials, permissions, metadata, tools and state; change nothing",
		Long: `Look at everything that a run needs and say in one line each whether it is
there, and what mends it. Nothing is changed: permissions are tried with EC2's
DryRun, the freeze guard is started and freezes nothing.

It works without root and without settings, and says what it could not look at.
It exits with 1 when something fails.`,
		RunE: func(c *cobra.Command, _ []string) error { return a.doctor(c.Context()) }}
	a.timeoutFlag(c, lookTime)
	return c
}

// doctor is one examination.
type doctor struct {
	*app
	findings []render.Finding
	specs    []recipe.Spec
	self     ec2.Identity // zero where the metadata service does not say
	caller   bool         // the credentials are good
}

func (a *app) doctor(ctx context.Context) error {
	d := &doctor{app: a}
	d.root()
	d.namespace()
	d.file()
	d.instance(ctx)
	d.snapshotters(ctx)
	d.credentials(ctx)
	d.permissions(ctx)
	d.clock(ctx)
	d.tools()
	d.hooks()
	d.fstab()
	d.state()
	d.runs()
	d.frozen(ctx)
	d.guard(context.WithoutCancel(ctx)) // it asks nobody else, and has its own bound
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeUp), errors.Is(cause, errSilent):
		d.fail("time", "--timeout gives it more time", "not all was looked at: %s", cause)
	case cause != nil:
		return cause
	}
	if err := d.print(); err != nil {
		return err
	}
	for _, f := range d.findings {
		if f.Level == "fail" {
			return &engine.Error{Code: engine.Failed, Err: fmt.Errorf("%s: %s", f.Check, f.Says), InResult: true}
		}
	}
	return nil
}

func (d *doctor) print() error {
	if d.json() {
		return render.FindingsJSON(d.stdout, d.findings, d.repeated)
	}
	return render.Findings(d.stdout, d.findings, d.style(d.stdoutFile))
}

func (d *doctor) ok(check, says string, args ...any) { d.add("ok", check, "", says, args...) }
func (d *doctor) warn(check, mend, says string, args ...any) {
	d.add("warn", check, mend, says, args...)
}
func (d *doctor) fail(check, mend, says string, args ...any) {
	d.add("fail", check, mend, says, args...)
}

func (d *doctor) add(level, check, mend, says string, args ...any) {
	d.findings = append(d.findings, render.Finding{Level: level, Check: check, Mend: mend, Says: fmt.Sprintf(says, args...)})
}

// failed tells an error with its hint.
func (d *doctor) failed(check string, err error) {
	mend := ""
	if fault, ok := errors.AsType[*ec2.Fault](err); ok {
		mend = fault.Hint
	}
	if ce, ok := errors.AsType[*engine.Error](err); ok && mend == "" {
		mend = ce.Hint
	}
	d.fail(check, mend, "%s", oneLine(err.Error()))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// several writes up to five words and counts the rest.
func several(words []string) string {
	const most = 5
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
}
