package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
)

// Exit codes, part of the command line's contract.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitSomeLanes   = 3
	exitOperator    = 4
	exitBusy        = 5
	exitChanges     = 6 // of plan --detailed-exitcode
	exitInterrupted = 130
)

// exitCodes are those of the engine's errors.
var exitCodes = map[engine.Code]int{
	engine.Failed: exitFailed, engine.Usage: exitUsage, engine.SomeLanes: exitSomeLanes,
	engine.NeedsOperator: exitOperator, engine.Busy: exitBusy, engine.Interrupted: exitInterrupted,
}

// exitCode is an error that has been told, and asks for an exit code of its own.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
func (e exitCode) Unwrap() error {
	return &engine.Error{Code: engine.Failed, Err: errors.New(e.Error()), InResult: true}
}

func usageError(format string, a ...any) error {
	return &engine.Error{Code: engine.Usage, Err: fmt.Errorf(format, a...)}
}

// exit says the error and returns the exit code for it.
func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	if code, is := errors.AsType[exitCode](err); is {
		return int(code)
	}
	known := engine.ErrorOf(err)
	code := exitCodes[known.Code]
	if known.InResult {
		return code
	}
	var stderr io.Writer = a.stderr
	if render.ToJournal(a.stderrFile, os.Getenv) {
		stderr = render.AsErrors(stderr)
	}
	if set, is := errors.AsType[*settings.Error](err); is {
		_ = set.Render(stderr, 0, a.style(a.stderrFile).Color)
		return code
	}
	render.Error(stderr, known.Err, a.style(a.stderrFile))
	return code
}
