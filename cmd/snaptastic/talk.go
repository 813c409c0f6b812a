package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan/units"
)

func (a *app) terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Ask asks on the terminal; without one, --yes is needed. A signal at the question ends it: what is typed after that counts
// for nothing.
func (a *app) Ask(ctx context.Context, what, question string) (bool, error) {
	if a.yes {
		return true, nil
	}
	if !a.terminal(a.stdin) {
		return false, &engine.Error{Code: engine.Usage, Err: engine.WithHint("use --yes to skip this question", fmt.Errorf("cannot %s: it needs confirmation, but stdin is not a terminal", what))}
	}
	fmt.Fprint(a.stderr, render.Clean(question)+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be ended; after a signal the program is
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answer <- line
	}()
	var line string
	select {
	case line = <-answer:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		fmt.Fprintln(a.stderr)
		return false, context.Cause(ctx)
	}
	s := strings.ToLower(strings.TrimSpace(line))
	return s == "y" || s == "yes", nil
}

// Observe shows a live run: bars on a terminal, log lines otherwise.
func (a *app) Observe(s engine.RunDetails) engine.Observer {
	progress := render.NewLog(a.log, s.Run)
	if _, live := render.Detect(a.stderrFile, os.Getenv); live && a.logFormat == "text" && !a.json() {
		term := render.NewTerminal(a.stderr, s.Plan, s.Records, a.style(a.stderrFile))
		term.About(s.Run, s.Plan, s.RollingBack)
		progress = term
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		progress = render.Notify(progress, s.Plan, s.Records)
	}
	return watch{progress, a}
}

type watch struct {
	render.Progress
	*app
}

// Take passes on an event as programs get it.
func (w watch) Take(e engine.Event) {
	if w.events != nil {
		w.events.Take(e)
	}
}

// Window holds back whatever this program writes.
func (w watch) Window(open bool) {
	w.Progress.Window(open)
	if w.events != nil {
		w.events.Window(open)
	}
	w.stdout.Hold(open)
	w.stderr.Hold(open)
}

// Ended prints what a run came to.
func (a *app) Ended(e engine.RunResult) {
	if !slices.Contains(a.ended, e.Run) {
		a.ended = append(a.ended, e.Run)
	}
	var err error
	switch end := a.printable(e); {
	case a.output == "jsonl", a.json() && a.listed:
	case a.json():
		err = render.SummaryJSON(a.stdout, end)
	default:
		err = render.Summary(a.stdout, end, a.style(a.stdoutFile))
	}
	if err != nil {
		a.log.Warn("cannot print the summary", "error", err)
	}
}

func (a *app) printable(e engine.RunResult) render.RunResult {
	return render.RunResult{RunResult: e, Now: time.Now(), Flags: a.repeated}
}

// resumed ends a resume of all runs.
func (a *app) resumed(r engine.Resumed, worst error) error {
	switch {
	case a.output == "jsonl":
	case a.json():
		var ends []render.RunResult
		for _, e := range r.Ends {
			ends = append(ends, a.printable(e))
		}
		return errors.Join(worst, render.SummariesJSON(a.stdout, ends))
	case len(r.Ends) > 0 || worst != nil:
	case r.Waiting == 1:
		fmt.Fprintln(a.stdout, "nothing to resume unattended; 1 run waits for an operator: `snaptastic status` lists them")
	case r.Waiting > 0:
		fmt.Fprintf(a.stdout, "nothing to resume unattended; %d runs wait for an operator: `snaptastic status` lists them\n", r.Waiting)
	case r.Later > 0:
		fmt.Fprintf(a.stdout, "nothing to resume unattended; %s of copy or warm left to the next `run` of it: `snaptastic status` lists them\n", units.Count(r.Later, "run", "runs"))
	default:
		fmt.Fprintln(a.stdout, "nothing to resume")
	}
	return worst
}
