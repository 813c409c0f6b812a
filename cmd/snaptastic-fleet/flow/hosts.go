package flow

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// states is what the query tells: one line for each host.
type states struct{ lines []HostState }

func newStates(hosts []Host) *states {
	s := &states{}
	for _, h := range hosts {
		s.lines = append(s.lines, HostState{Host: h.Name, Shard: h.Shard, State: "waiting"})
	}
	return s
}

func (s *states) line(host string) *HostState {
	for i := range s.lines {
		if s.lines[i].Host == host {
			return &s.lines[i]
		}
	}
	return &HostState{}
}

func (s *states) set(host, state string, err error) {
	l := s.line(host)
	l.State, l.Error = state, ""
	if err != nil {
		l.State, l.Error = "failed", cause(err)
	}
}

func (s *states) ran(host, run string) { s.line(host).Run = run }

// take puts the lines of some hosts, as another workflow has them, in the place of these hosts' own.
func (s *states) take(lines []HostState) {
	for _, l := range lines {
		*s.line(l.Host) = l
	}
}

// notBegun says so of those that wait and will not be begun.
func (s *states) notBegun() {
	for i := range s.lines {
		if s.lines[i].State == "waiting" {
			s.lines[i].State = "not begun"
		}
	}
}

func (s *states) list() []HostState { return append([]HostState(nil), s.lines...) }

// each calls do for 0 to n-1, all at once, and returns their errors when all have returned.
func each(ctx workflow.Context, n int, do func(workflow.Context, int) error) []error {
	errs := make([]error, n)
	wg := workflow.NewWaitGroup(ctx)
	for i := range n {
		wg.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer wg.Done()
			errs[i] = do(ctx, i)
		})
	}
	wg.Wait(ctx)
	return errs
}

// joined is one error over those of all hosts, each with the host's name in front; nil for none.
func joined(hosts []Host, errs []error) error {
	var all []string
	for i, err := range errs {
		if err != nil {
			all = append(all, hosts[i].Name+": "+cause(err))
		}
	}
	if len(all) == 0 {
		return nil
	}
	sort.Strings(all)
	const most = 5
	if more := len(all) - most; more > 0 {
		all = append(all[:most], fmt.Sprintf("and %d more hosts", more))
	}
	return errors.New(strings.Join(all, "; "))
}

// kind is that of an activity's error; "" for any other.
func kind(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Type()
	}
	return ""
}

// Details reads the result that a failed or cancelled workflow put into its error, if it did.
func Details(err error, result any) {
	var app *temporal.ApplicationError
	var stopped *temporal.CanceledError
	if errors.As(err, &stopped) && stopped.HasDetails() {
		_ = stopped.Details(result)
	}
	if errors.As(err, &app) && app.HasDetails() {
		_ = app.Details(result)
	}
}

// cause is what went wrong, in our own words, without the engine's wrapping.
func cause(err error) string {
	var app *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case errors.As(err, &app):
		return app.Message()
	case errors.As(err, &timeout):
		switch timeout.TimeoutType().String() {
		case "ScheduleToStart":
			return "no worker took the order in time: check that snaptastic-fleet-worker runs there"
		case "Heartbeat":
			return "its worker was heard no more"
		}
		return "it took too long (" + timeout.TimeoutType().String() + ")"
	case temporal.IsCanceledError(err):
		return "cancelled"
	}
	return err.Error()
}
