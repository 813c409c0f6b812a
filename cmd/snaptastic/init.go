package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
)

func initCommand(a *app) *cobra.Command {
	var name string
	var force bool
	c := &cobra.Command{Use: "init [FILE]", Args: between(0, "FILE"),
		Short: "Write a settings file from the volumes that are attached and mounted now",
		Long: `Writes a settings file with one snapshotter: all EBS volumes of this instance that are
mounted now, except the root volume, and the tags that identify them. Nothing else
is changed. A mount with these settings adopts the volumes as they are; for those that
lack the tags, the command that adds them is printed.

FILE is by default where the other commands look: --settings, $SNAPTASTIC_SETTINGS or
./snaptastic.hcl. With - the settings are written to stdout.`,
		RunE: func(c *cobra.Command, args []string) error {
			file := cmp.Or(a.flags.settings, os.Getenv(settings.EnvPath), "snaptastic.hcl")
			if len(args) > 0 {
				file = args[0]
			}
			if _, err := os.Lstat(file); err == nil && file != "-" && !force {
				return fileExists(file)
			}
			d, err := a.Draft(c.Context(), name)
			if err != nil {
				return err
			}
			if file == "-" && !a.json() {
				_, err := a.stdout.Write([]byte(d.Text))
				return err
			}
			if file != "-" {
				if err := writeNew(file, d.Text, force); err != nil {
					return err
				}
			}
			d.File = file
			if len(args) > 0 && file != "-" && !a.json() {
				if err := c.Flags().Set("settings", file); err != nil {
					return err
				}
				a.fromEnvironment(c.Flags()) // the commands to type next are for the new file
			}
			return a.showDraft(d)
		}}
	a.timeoutFlag(c, readTimeout)
	c.Flags().StringVar(&name, "name", "", "`name` of the snapshotter (default: the tag role, or data)")
	c.Flags().BoolVar(&force, "force", false, "replace a file that exists")
	return c
}

func fileExists(file string) error {
	return &engine.Error{Code: engine.Usage, Err: engine.WithHint("use --force to replace it, another file, or - for stdout", fmt.Errorf("cannot write %s: it exists", file))}
}

// writeNew writes a file as a whole or not at all. One that exists is replaced only if that is allowed.
func writeNew(file, text string, replace bool) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".snaptastic-")
	if err != nil {
		return cannotWrite(file, err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	switch {
	case err != nil:
	case replace:
		err = os.Rename(f.Name(), file)
	default:
		if err = os.Link(f.Name(), file); errors.Is(err, fs.ErrExist) {
			return fileExists(file)
		}
	}
	if err != nil {
		return cannotWrite(file, err)
	}
	return nil
}

func cannotWrite(file string, err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner // the path is said once
	}
	return fmt.Errorf("cannot write %s: %w", file, err)
}

func (a *app) showDraft(d engine.Draft) error {
	if a.json() {
		return render.JSON(a.stdout, d)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "wrote %s: snapshotter %s with %s\n", d.File, d.Snapshotter, strings.Join(d.MountPoints, ", "))
	for _, l := range d.LeftOut {
		fmt.Fprintf(&b, "left out %s (%s): %s\n", l.VolumeID, l.Device, l.Reason)
	}
	if len(d.TagCommands) > 0 {
		b.WriteString("\na mount refuses these volumes until they are tagged:\n")
	}
	for _, c := range d.TagCommands {
		b.WriteString("  " + c + "\n")
	}
	b.WriteString("\nnext:\n")
	for _, c := range []string{"snaptastic validate", "snaptastic plan mount " + d.Snapshotter} {
		b.WriteString("  " + a.repeated.After(c) + "\n")
	}
	_, err := render.Cleaned(a.stdout).Write([]byte(b.String()))
	return err
}
