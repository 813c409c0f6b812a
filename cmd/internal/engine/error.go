package engine

import (
	"context"
	"errors"
	"fmt"

	"snaptastic/cmd/internal/settings"
	"snaptastic/journal"
	"snaptastic/plan"
)

// Code says what kind of failure an error is.
type Code string

const (
	Failed        Code = "failed"
	Usage         Code = "usage"      // the request or the settings are wrong
	SomeLanes     Code = "some-lanes" // some volumes failed, the others are done
	NeedsOperator Code = "needs-operator"
	Busy          Code = "busy"        // another run has the volume
	Interrupted   Code = "interrupted" // and may be resumed
)

// Error is a failed use case: what kind of failure it is. What to do about it is the hint of Err, see [plan.Hinted].
type Error struct {
	Code     Code
	Err      error
	InResult bool // the result that comes with it tells it in full
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

func usageError(format string, a ...any) error {
	return &Error{Code: Usage, Err: fmt.Errorf(format, a...)}
}

func hinted(hint string, format string, a ...any) error {
	return &Error{Code: Failed, Err: plan.WithHint(hint, fmt.Errorf(format, a...))}
}

// ErrorOf finds the code of whatever a use case returned.
func ErrorOf(err error) *Error {
	var (
		known   *Error
		busy    *journal.BusyError
		set     *settings.Error
		unknown *settings.UnknownSnapshotter
	)
	switch {
	case errors.As(err, &known):
		return &Error{Code: known.Code, Err: err, InResult: known.InResult}
	case errors.As(err, &busy):
		return &Error{Code: Busy, Err: err}
	case errors.As(err, &set), errors.As(err, &unknown), errors.Is(err, settings.ErrNotFound):
		return &Error{Code: Usage, Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: Interrupted, Err: errors.New("interrupted")}
	}
	return &Error{Code: Failed, Err: err}
}

// worstError keeps the error with the higher claim on the exit code: the first one.
func worstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// inResult: the result that came with it has told it.
func inResult(err error) bool {
	known, ok := errors.AsType[*Error](err)
	return ok && known.InResult
}
