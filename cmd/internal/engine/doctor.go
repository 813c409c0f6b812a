package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"snaptastic/ec2"
	"snaptastic/plan"
	"snaptastic/steps/recipe"
)

// A Finding is what one look at the machine or the account came to.
type Finding struct {
	Level   Level  `json:"level"`
	Check   string `json:"check"` // what was looked at
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"` // what to do about it
}

// Level says how bad it is.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// doctor is one examination.
type doctor struct {
	*Engine
	findings []Finding
	specs    []recipe.Spec
	self     ec2.Identity // zero where the metadata service does not say
	caller   bool         // the credentials are good
}

// Doctor looks at all that a run needs, and changes nothing. What fails is an error that comes with the findings.
func (e *Engine) Doctor(ctx context.Context) ([]Finding, error) {
	d := &doctor{Engine: e}
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
		d.fail("time", "use a longer --timeout", "some checks were not made: %s", cause)
	case cause != nil:
		return nil, cause
	}
	for _, f := range d.findings {
		if f.Level == Fail {
			return d.findings, &Error{Code: Failed, Err: fmt.Errorf("%s: %s", f.Check, f.Message), InResult: true}
		}
	}
	return d.findings, nil
}

func (d *doctor) ok(check, message string, args ...any) { d.add(OK, check, "", message, args...) }
func (d *doctor) warn(check, fix, message string, args ...any) {
	d.add(Warn, check, fix, message, args...)
}
func (d *doctor) fail(check, fix, message string, args ...any) {
	d.add(Fail, check, fix, message, args...)
}

func (d *doctor) add(level Level, check, fix, message string, args ...any) {
	d.findings = append(d.findings, Finding{Level: level, Check: check, Fix: fix, Message: fmt.Sprintf(message, args...)})
}

// failed tells an error with its hint.
func (d *doctor) failed(check string, err error) {
	d.fail(check, plan.HintOf(err), "%s", oneLine(err.Error()))
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
