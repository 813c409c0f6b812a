package main

import (
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
)

func instancesCommand(a *app) *cobra.Command {
	var r engine.InstancesRequest
	c := &cobra.Command{Use: "instances --tag KEY=VALUE…|--self", Args: exactly(), Short: "List the running instances that have these tags, or show which one this is",
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := a.RunningInstances(c.Context(), r)
			switch {
			case err != nil:
				return err
			case a.json():
				return render.JSON(a.stdout, found)
			}
			rows := [][]string{}
			for _, i := range found {
				rows = append(rows, []string{i.ID, i.Type, i.Zone, made(i.Launched, time.Now()), ownerOf("", i.Tags)})
			}
			return render.Table(a.stdout, []string{"INSTANCE", "TYPE", "ZONE", "UPTIME", "TAGS"}, rows, a.style(a.stdoutFile))
		}}
	a.timeoutFlag(c, readTimeout)
	c.Flags().StringArrayVar(&r.Tags, "tag", nil, "a tag that they have, as `KEY=VALUE`; can be repeated")
	c.Flags().BoolVar(&r.Self, "self", false, "only the instance that this is, as its metadata service says")
	return c
}
