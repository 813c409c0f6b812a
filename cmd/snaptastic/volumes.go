package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func volumesCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "volumes NAME", Aliases: []string{"list-volumes"}, Args: exactly("NAME"),
		Short: "List declared, attached and mounted volumes, and the differences",
		RunE: func(c *cobra.Command, args []string) error {
			views, err := a.Volumes(c.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json() {
				return render.JSON(a.stdout, views)
			}
			return a.showVolumes(views)
		}}
	a.timeoutFlag(c, readTimeout)
	return c
}

var yesNo = map[bool]string{true: "yes", false: "no"}

// showVolumes prints the table, verdict first: a table is cut at its right end. The problems follow in full.
func (a *app) showVolumes(views []engine.VolumeView) error {
	var rows [][]string
	var problems []string
	for _, v := range views {
		row := []string{"ok", v.MountPoint, "-", "-", v.Device, fmt.Sprintf("%d GiB %s", v.Declared.Size, v.Declared.FileSystem), "-", "-", "-", "-", "-"}
		if len(v.Problems) > 0 {
			row[0] = "PROBLEM"
			problems = append(problems, fmt.Sprintf("%s (%s): %s", v.MountPoint, v.Device, strings.Join(v.Problems, "; ")))
		}
		if t := v.Attached; t != nil {
			row[2], row[3] = t.VolumeID, string(t.Attachment)
			if t.State != engine.VolumeInUse {
				row[3] = string(t.State)
			}
			row[6], row[10] = fmt.Sprintf("%d GiB %s", t.Size, t.Type), yesNo[t.DeleteOnTermination]
		}
		if m := v.Mounted; m != nil {
			row[7], row[8], row[9] = filepath.Base(m.Source)+" "+m.FileSystem, m.At, render.Bytes(int64(m.Used))+" of "+render.Bytes(int64(m.Total))
		}
		rows = append(rows, row)
	}
	header := []string{"STATE", "MOUNT POINT", "VOLUME", "ATTACHED", "DEVICE", "DECLARED", "ACTUAL", "MOUNTED", "AT", "USED", "DELETE ON TERMINATION"}
	return render.CheckTable(a.stdout, header, rows, problems, "problem", a.style(a.stdoutFile))
}
