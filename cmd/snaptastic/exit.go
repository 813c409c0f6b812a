package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/plan"
)

// Exit codes, part of the command line's contract.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitSomeLanes   = 3
	exitOperator    = 4
	exitBusy        = 5
	exitInterrupted = 130
)

// codeError carries an exit code, a hint and whether it was said already.
type codeError struct {
	code int
	err  error
	hint string
	said bool // the summary has told it
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

func usageError(format string, a ...any) error {
	return &codeError{code: exitUsage, err: fmt.Errorf(format, a...)}
}

func hinted(hint string, format string, a ...any) error {
	return &codeError{code: exitFailed, err: fmt.Errorf(format, a...), hint: hint}
}

// exit says the error and returns the exit code for it.
func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	code, hint := exitFailed, ""
	var stderr io.Writer = a.stderr
	if render.ToJournal(a.stderrFile, os.Getenv) {
		stderr = render.AsErrors(stderr)
	}
	var (
		ce      *codeError
		busy    *journal.BusyError
		set     *settings.Error
		unknown *settings.UnknownSnapshotter
		fault   *ec2.Fault
		damaged *journal.DamagedError
	)
	switch {
	case errors.As(err, &ce):
		if ce.said {
			return ce.code
		}
		code, hint = ce.code, ce.hint
	case errors.As(err, &busy):
		code = exitBusy
	case errors.As(err, &set):
		_ = set.Render(stderr, 0, a.style(a.stderrFile).Color)
		return exitUsage
	case errors.As(err, &unknown), errors.Is(err, settings.ErrNotFound):
		code = exitUsage
	case errors.Is(err, context.Canceled):
		code = exitInterrupted
		err = errors.New("interrupted")
	case errors.As(err, &damaged):
		hint = damaged.Hint()
	case errors.As(err, &fault):
		hint = fault.Hint
	default:
		hint = plan.VerdictOf(err).Hint
	}
	if code != exitFailed || !strings.Contains(err.Error(), hint) {
		render.Error(stderr, err, hint, a.style(a.stderrFile))
	} else {
		render.Error(stderr, err, "", a.style(a.stderrFile))
	}
	return code
}
