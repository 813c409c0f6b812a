package main

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func traceCommand(a *app) *cobra.Command {
	send := false
	c := &cobra.Command{Use: "trace RUN", Short: "Print a run as an OpenTelemetry trace, or send it",
		Long: `Print a run as one OpenTelemetry trace in OTLP's JSON encoding: a span for each step, each freeze and each EC2 call.
With --send it goes to the receiver that telemetry in the settings names. Every run does so when it has ended.`,
		Args: exactly("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.Report(engine.RunID(args[0]))
			if err != nil {
				return err
			}
			var body bytes.Buffer
			if err := render.Trace(&body, r); err != nil {
				return err
			}
			if send {
				return a.SendTrace(c.Context(), body.Bytes())
			}
			_, err = a.stdout.Write(body.Bytes())
			return err
		}}
	c.Flags().BoolVar(&send, "send", false, "send it instead of printing it")
	return c
}

// sendTraces has the traces of the runs that ended sent by a process of its own, so that a receiver that is slow or hangs
// delays nobody. What goes wrong is an error in the log, if that is systemd's, and otherwise nobody's business.
func (a *app) sendTraces() {
	if len(a.ended) == 0 {
		return
	}
	if _, wanted := a.Telemetry(); !wanted {
		return
	}
	for _, run := range a.ended {
		args := []string{"trace", string(run), "--send", "--log-level", "error", "--state-dir", a.stateDir}
		if a.settings != "" {
			args = append(args, "--settings", a.settings)
		}
		cmd := exec.Command("/proc/self/exe", args...) // this program, also when its file was replaced
		cmd.Args[0] = os.Args[0]
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C on the terminal is not meant for it
		if render.ToJournal(a.stderrFile, os.Getenv) {
			cmd.Stderr = a.stderrFile
		}
		if err := cmd.Start(); err != nil {
			a.log.Warn("cannot send the trace", "run", run, "error", err)
			continue
		}
		_ = cmd.Process.Release()
	}
}
