package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
)

// fleetProgram drives this one on many hosts. It is a program of its own, since Temporal's client is larger than all of this one.
const fleetProgram = "snaptastic-fleet"

// fleetCommand becomes snaptastic-fleet, as git becomes its commands: beside this program, or in PATH.
func fleetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "fleet …", Short: "Snapshot and restore many hosts together (" + fleetProgram + ")",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := findFleet()
			if err != nil {
				return &engine.Error{Code: engine.Usage, Err: engine.WithHint("Install the package "+fleetProgram+"; docs/fleet.md says what it needs",
					fmt.Errorf("cannot find %s: %w", fleetProgram, err))}
			}
			return fmt.Errorf("cannot run %s: %w", path, syscall.Exec(path, append([]string{fleetProgram}, args...), os.Environ()))
		},
	}
}

func findFleet() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), fleetProgram)
		if _, err := os.Stat(beside); !errors.Is(err, os.ErrNotExist) {
			return beside, err
		}
	}
	return exec.LookPath(fleetProgram)
}
