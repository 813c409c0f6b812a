package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

func flowHosts(list []config.Host) []flow.Host {
	out := make([]flow.Host, 0, len(list))
	for _, h := range list {
		out = append(out, flow.Host{Name: h.Name, Shard: h.Shard})
	}
	return out
}

// tagged is how the cluster's hosts are found; nil where they are listed.
func tagged(cl *config.Cluster) *flow.Tagged {
	if t := cl.Tagged; t != nil {
		return &flow.Tagged{Tags: t.Tags, ShardTag: t.ShardTag, NameTag: t.NameTag, AtLeast: t.AtLeast}
	}
	return nil
}

var setName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@+=-]{0,99}$`)

func checkSet(set string) error {
	if set != "" && !setName.MatchString(set) {
		return usage{fmt.Errorf("--set %q: must be 1 to 100 letters, digits and . _ : @ + = - , with a letter or digit first", set)}
	}
	return nil
}

// anyWord is a part of keys, of which 200 characters are left with the longest set's and host's names.
var anyWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+=-]{0,19}$`)

func checkAgain(word string) error {
	if word != "" && !anyWord.MatchString(word) {
		return usage{fmt.Errorf("--again %q: must be 1 to 20 letters, digits and . _ : + = - , with a letter or digit first", word)}
	}
	return nil
}

func (a *app) snapshotCommand() *cobra.Command {
	var set string
	var cell int
	c := &cobra.Command{
		Use: "snapshot CLUSTER", Short: "Snapshot all hosts of a cluster at one instant, as one set", Args: arguments("CLUSTER"),
		Example: "  snaptastic fleet snapshot shards\n  snaptastic fleet snapshot shards --rolling 20",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkSet(set); err != nil {
				return err
			}
			cl, conn, err := a.cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := checkCells(cl, cell); err != nil {
				return usage{err}
			}
			var r flow.SnapshotResult
			err = start(cmd.Context(), conn, "snapshot", cl.Name, "Snapshot", &r, snapshotRequest(cl, set, cell))
			if ended(err) {
				a.print(cmd.OutOrStdout(), r, func(w io.Writer) { printSnapshot(w, r); printVersions(w, "", r.Hosts) })
			}
			if err == nil && r.NotLocked != "" {
				return partly{fmt.Errorf("it can be restored, but is not all locked: %s. Once that is fixed, snaptastic label --set SET locks the rest", r.NotLocked)}
			}
			return err
		},
	}
	c.Flags().StringVar(&set, "set", "", "identity of the set (default: the cluster's name and the time)")
	c.Flags().IntVar(&cell, "rolling", 0, "snapshot this many hosts at an instant, one group after the other, each group a set of its own")
	return c
}

// checkCells finds before anything is begun what the workflow would refuse.
func checkCells(cl *config.Cluster, cell int) error {
	switch {
	case cell < 0 || cell > flow.MostInOneWindow:
		return fmt.Errorf("--rolling %d: must be 1 to %d hosts", cell, flow.MostInOneWindow)
	case cell == 0 && len(cl.Hosts) > flow.MostInOneWindow:
		return errors.New(flow.TooMany(len(cl.Hosts)))
	}
	return nil
}

func snapshotRequest(cl *config.Cluster, set string, cell int) flow.SnapshotRequest {
	return flow.SnapshotRequest{
		Cluster: cl.Name, Snapshotter: cl.Snapshotter, Set: set, Hosts: flowHosts(cl.Hosts), Tagged: tagged(cl),
		Lead: cl.LeadTime(), Hold: cl.HoldTime(), Cell: cell,
	}
}

func printSnapshot(w io.Writer, r flow.SnapshotResult) {
	for _, cell := range r.Cells {
		printSnapshot(w, cell)
	}
	if len(r.Cells) > 0 || r.Set == "" {
		return
	}
	if r.Instant != nil && r.Labelled {
		locked := ""
		if r.Locked > 0 {
			locked = fmt.Sprintf(", %d of them locked", r.Locked)
		}
		fmt.Fprintf(w, "set %s: %s on %s, labelled%s. All stood still together for %.1f ms, from %s on (%s froze last, %s thawed first; clock errors taken off).\n",
			r.Set, several(r.Snapshots, "snapshot"), several(len(r.Hosts), "host"), locked, r.Instant.OverlapSeconds*1000, r.Instant.From.UTC().Format("15:04:05.000Z"), r.Instant.Last, r.Instant.First)
		return
	}
	fmt.Fprintf(w, "set %s: not labelled\n", r.Set)
	printHosts(w, r.Hosts)
}

func printVersions(w io.Writer, indent string, hosts []flow.HostState) {
	if differ := flow.Versions(hosts); differ != "" {
		fmt.Fprintf(w, "%snote: %s\n", indent, differ)
	}
}

func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) restoreCommand() *cobra.Command {
	return a.hostsCommand("restore", "Mount one whole set on the hosts of a cluster, by shard, a few hosts at a time",
		"  snaptastic fleet restore shards --set shards-20261128T030000.000Z\n  snaptastic fleet restore shards --set SET --fresh")
}

func (a *app) verifyCommand() *cobra.Command {
	return a.hostsCommand("verify", "Prove a set by a drill on each host (or on the cluster's spare hosts)", "  snaptastic fleet verify shards")
}

func (a *app) eachCommand(operation string) *cobra.Command {
	return a.hostsCommand(operation, "Run "+operation+" on each host, a few at a time", "  snaptastic fleet "+operation+" shards")
}

// hostsCommand is an operation on each host of a cluster.
func (a *app) hostsCommand(operation, short, example string) *cobra.Command {
	var set, again string
	var fresh bool
	var share shareFlags
	c := &cobra.Command{
		Use: operation + " CLUSTER", Short: short, Args: arguments("CLUSTER"), Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if operation == "restore" && set == "" {
				return usage{errors.New("--set is missing: snaptastic snapshots NAME on any host lists the sets")}
			}
			if err := cmp.Or(checkSet(set), checkAgain(again), share.check()); err != nil {
				return err
			}
			cl, conn, err := a.cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			req := hostsRequest(cl, operation, set)
			if operation == "restore" {
				req.Probe = cl.Probe
			}
			if fresh {
				req.Operation = "mount"
			}
			orderAgain(&req, again)
			share.set(&req)
			var r flow.HostsResult
			err = start(cmd.Context(), conn, operation, cl.Name, "Hosts", &r, req)
			if ended(err) {
				a.print(cmd.OutOrStdout(), r, func(w io.Writer) {
					printHosts(w, r.Hosts)
					printDone(w, r)
				})
			}
			return err
		},
	}
	c.Flags().StringVar(&set, "set", "", "identity of the set")
	share.add(c)
	c.Flags().StringVar(&again, "again", "", "any word: do it again on hosts that have it done under another word, or none; under the same word, hosts that are done are left as they are")
	if operation == "restore" {
		c.Flags().BoolVar(&fresh, "fresh", false, "the hosts are new and have nothing mounted: mount the set rather than put it in the place of what is there")
	}
	return c
}

// shareFlags say how an operation goes over the hosts; 0: as the cluster says.
type shareFlags struct{ atOnce, stopAfter int }

func (f *shareFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.atOnce, "at-once", 0, "hosts at a time (default: at_once of the cluster)")
	c.Flags().IntVar(&f.stopAfter, "stop-after", 0, "failures after which no further host is begun (default: stop_after of the cluster)")
}

func (f shareFlags) check() error {
	if f.atOnce < 0 || f.stopAfter < 0 {
		return usage{errors.New("--at-once and --stop-after: must be 1 or more")}
	}
	return nil
}

func (f shareFlags) set(r *flow.HostsRequest) {
	if f.atOnce > 0 {
		r.AtOnce = f.atOnce
	}
	if f.stopAfter > 0 {
		r.StopAfter = f.stopAfter
	}
}

func hostsRequest(cl *config.Cluster, operation, set string) flow.HostsRequest {
	hosts, by := cl.Hosts, tagged(cl)
	if operation == "verify" && len(cl.Drill) > 0 {
		hosts, by = cl.Drill, nil
	}
	key := "" // a drill or a warm-up is wanted each time
	if operation == "restore" {
		key = set
	}
	return flow.HostsRequest{
		Cluster: cl.Name, Snapshotter: cl.Snapshotter, Operation: operation, Set: set, Key: key,
		Hosts: flowHosts(hosts), Tagged: by, AtOnce: max(1, cl.AtOnce), StopAfter: max(1, cl.StopAfter),
	}
}

// orderAgain gives the order a word. A drill that is asked for again under the same word goes on with hosts that do not have it.
func orderAgain(req *flow.HostsRequest, word string) {
	if req.Again = word; word != "" && req.Key == "" {
		req.Key = cmp.Or(req.Set, req.Cluster)
	}
}

// printDone is the last line of an operation on hosts.
func printDone(w io.Writer, r flow.HostsResult) {
	line := fmt.Sprintf("%d of %s done", r.Done, several(len(r.Hosts), "host"))
	before := 0
	for _, h := range r.Hosts {
		if h.Repeated && h.State == "done" {
			before++
		}
	}
	if before > 0 {
		line += fmt.Sprintf(", %d of them by an earlier command, and left as they were", before)
	}
	if r.Set != "" {
		line = "set " + r.Set + ": " + line
	}
	fmt.Fprintln(w, line)
}

func (a *app) cleanCommand() *cobra.Command {
	return a.onceCommand("clean", "Clean", "Delete the snapshots that the retention rules let go, once for the whole cluster",
		func(r flow.SetResult) string {
			return fmt.Sprintf("%s and %s deleted", several(len(r.DeletedSets), "set"), several(len(r.Deleted), "other snapshot"))
		})
}

func (a *app) copyCommand() *cobra.Command {
	return a.onceCommand("copy", "Copy", "Copy the sets that other regions lack, each whole, once for the whole cluster",
		func(r flow.SetResult) string { return several(r.Copied, "set") + " copied" })
}

// onceCommand is what control does in the account, once for all hosts.
func (a *app) onceCommand(operation, workflow, short string, text func(flow.SetResult) string) *cobra.Command {
	return &cobra.Command{
		Use: operation + " CLUSTER", Short: short, Args: arguments("CLUSTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, conn, err := a.cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			var r flow.SetResult
			if err := start(cmd.Context(), conn, operation, cl.Name, workflow, &r, flow.SetRequest{Snapshotter: cl.Snapshotter}); err != nil {
				return err
			}
			a.print(cmd.OutOrStdout(), r, func(w io.Writer) { fmt.Fprintln(w, text(r)) })
			return nil
		},
	}
}

func (a *app) print(w io.Writer, v any, text func(io.Writer)) {
	if a.output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(v)
		return
	}
	text(w)
}
