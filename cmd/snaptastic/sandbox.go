package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/ec2/sandbox"
	"snaptastic/plan/units"
)

func sandboxCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "sandbox serve|log|reboot|lose|reset|delete-volume", Short: "Run the local EC2 sandbox (directory: --sandbox=DIR, default STATE/sandbox)",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("sandbox: unknown command %q: must be serve, log, reboot, lose, reset or delete-volume", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(sandboxServe(a), sandboxLog(a), sandboxDelete(a),
		&cobra.Command{Use: "reboot", Short: "Simulate a reboot: drop the mounts and change the boot id; attachments are kept", Args: exactly(),
			RunE: func(*cobra.Command, []string) error { return stillUsed(sandbox.Reboot(a.sandboxOrDefault())) }},
		&cobra.Command{Use: "lose REGION", Short: "Simulate the loss of a region: everything that any account has there is gone", Args: exactly("REGION"),
			RunE: func(_ *cobra.Command, args []string) error {
				return stillUsed(sandbox.Lose(a.sandboxOrDefault(), args[0]))
			}},
		&cobra.Command{Use: "reset", Short: "Unmount, detach and remove everything in the sandbox", Args: exactly(),
			RunE: func(*cobra.Command, []string) error { return stillUsed(sandbox.Reset(a.sandboxOrDefault())) }},
	)
	return c
}

func (a *app) sandboxOrDefault() string {
	if a.sandbox == "" {
		a.sandbox = sandboxInState
	}
	return a.sandboxDir()
}

func sandboxServe(a *app) *cobra.Command {
	var addr, faults, policy string
	var hosts []string
	var filesOnly, strict bool
	var lat sandbox.Latency
	c := &cobra.Command{Use: "serve", Short: "Serve EC2, instance metadata and STS on loopback until interrupted", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			conf := sandbox.Config{Dir: a.sandboxOrDefault(), FilesOnly: filesOnly, Latency: lat, Strict: strict, Hosts: hosts}
			if err := sandbox.Missing(); err != nil && !filesOnly {
				a.log.Warn("serving the API with plain files only", "because", err)
				conf.FilesOnly = true
			}
			raw, err := a.userdataFlag()
			if err != nil {
				return err
			}
			conf.UserData = string(raw)
			if faults != "" {
				body, err := os.ReadFile(faults)
				if err != nil {
					return usageError("cannot read faults: %w", err)
				}
				if err := conf.ReadFaults(body); err != nil {
					return usageError("cannot read faults %s: %w", faults, err)
				}
			}
			if policy != "" {
				body, err := os.ReadFile(policy)
				if err != nil {
					return usageError("cannot read the policy: %w", err)
				}
				if conf.Policy, err = sandbox.ParsePolicy(body); err != nil {
					return usageError("cannot read the policy %s: %w", policy, err)
				}
			}
			s, err := sandbox.Serve(c.Context(), conf, addr)
			if err != nil {
				return err
			}
			for _, e := range s.Environment() {
				fmt.Fprintln(a.stdout, "export "+e)
			}
			<-s.Done()
			return s.Close()
		}}
	f := c.Flags()
	f.StringVar(&addr, "listen", "127.0.0.1:0", "`address` on loopback")
	f.BoolVar(&filesOnly, "files-only", false, "plain files instead of loop devices (no root needed)")
	f.StringVar(&faults, "faults", "", "`file` with faults, in the format of faults.json, or a JSON list")
	f.StringVar(&policy, "policy", "", "`file` with an IAM policy to enforce")
	f.BoolVar(&strict, "strict", false, "EC2's delays: one snapshot of a volume per 15 s; describes lag 500 ms and sometimes show an older state")
	f.StringSliceVar(&hosts, "allow-host", nil, "additional host `name` that clients may use")
	f.DurationVar(&lat.Request, "latency", 0, "of every call")
	f.DurationVar(&lat.Create, "create-time", 0, "of a volume, creating to available")
	f.DurationVar(&lat.Attach, "attach-time", 0, "of an attachment")
	f.DurationVar(&lat.Detach, "detach-time", 0, "of a detachment")
	f.DurationVar(&lat.Snapshot, "snapshot-time", 0, "of a snapshot, pending to completed")
	f.DurationVar(&lat.Lag, "lag", 0, "how long describes lag behind changes")
	return c
}

// stillUsed adds what to do about a mount that somebody works in.
func stillUsed(err error) error {
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	return &engine.Error{Code: engine.Failed, Err: engine.WithHint("a process uses one of its mounts (a shell with its working directory there?): find it with `fuser -vm MOUNT`, stop it and try again", err)}
}

// sandboxDelete loses a volume, as the end of an instance would.
func sandboxDelete(a *app) *cobra.Command {
	return &cobra.Command{Use: "delete-volume VOLUME", Short: "Delete a volume of the sandbox", Args: exactly("VOLUME"),
		RunE: func(c *cobra.Command, args []string) error {
			a.sandboxOrDefault()
			client, err := a.connectSandbox(c.Context())
			if err != nil {
				return err
			}
			return client.DeleteVolume(c.Context(), args[0])
		}}
}

func sandboxLog(a *app) *cobra.Command {
	return &cobra.Command{Use: "log", Short: "List the API calls: time, action, parameters, result", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			calls, err := sandbox.Log(a.sandboxOrDefault())
			if err != nil {
				return err
			}
			if a.json() {
				enc := json.NewEncoder(a.stdout)
				for _, c := range calls {
					c.Time = c.Time.UTC()
					if err := enc.Encode(c); err != nil {
						return err
					}
				}
				return nil
			}
			var rows [][]string
			for _, c := range calls {
				rows = append(rows, []string{c.Time.Format(time.TimeOnly + ".000"), c.Service, c.Action, c.Result, units.Took(time.Duration(c.Millis * 1e6)), brief(c.Params)})
			}
			return render.Table(a.stdout, []string{"TIME", "SERVICE", "ACTION", "RESULT", "TOOK", "PARAMETERS"}, rows, a.style(a.stdoutFile))
		}}
}

// brief lists the parameters that tell calls apart, in a fixed order.
func brief(params map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		if k != "Version" && k != "Action" {
			out = append(out, k+"="+params[k])
		}
	}
	return strings.Join(out, " ")
}
