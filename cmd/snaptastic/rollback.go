package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/render"
	"snaptastic/journal"
	"snaptastic/plan"
)

func rollbackCommand(a *app) *cobra.Command {
	var deleteVolumes bool
	c := &cobra.Command{Use: "rollback RUN", Short: "Undo what an unfinished run did", Args: exactly("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("roll back"); err != nil {
				return err
			}
			store, err := a.stateOf(plan.RunID(args[0]))
			if err != nil {
				return err
			}
			a.thawOwned(c.Context(), store)
			run, err := a.openRun(c.Context(), store, plan.RunID(args[0]))
			if err != nil {
				return err
			}
			if run.Plan().Irreversible {
				_ = run.Close()
				return hinted(fmt.Sprintf("`snaptastic resume %s` finishes it, `snaptastic abandon %s` ends it as it is", args[0], args[0]),
					"cannot roll back run %s: what it deleted cannot be brought back", args[0])
			}
			act := action{rollback: true}
			if deleteVolumes {
				if act.deleteKept, err = a.mayDelete(c.Context(), run); err != nil {
					_ = run.Close()
					return err
				}
			}
			_, err = a.execute(c.Context(), store, run, act)
			return err
		}}
	privateMountsFlag(c, a)
	a.patienceFlag(c)
	c.Flags().BoolVar(&deleteVolumes, "delete-volumes", false, "also delete volumes that the run made and that were mounted once; asks for each")
	return c
}

// mayDelete asks for each volume that the run made and that a rollback would
// otherwise keep, since somebody may have written to it.
func (a *app) mayDelete(ctx context.Context, run *journal.Run) (map[string]bool, error) {
	records, out := run.Records(), map[string]bool{}
	for _, s := range run.Plan().Steps {
		r := records[s.ID]
		if s.KeptBy == "" || !r.Began() || !records[s.KeptBy].EverDone {
			continue
		}
		var made struct {
			VolumeID string `json:"volume_id"`
			Created  bool   `json:"created"`
		}
		if json.Unmarshal(r.Output, &made) != nil || !made.Created {
			continue
		}
		switch err := a.confirm(ctx, "delete "+made.VolumeID, fmt.Sprintf("Delete %s, which was mounted on %s, with all that was written to it?", made.VolumeID, s.Lane)); {
		case err == nil:
			out[made.VolumeID] = true
		case !errors.Is(err, errDeclined):
			return nil, err
		}
	}
	return out, nil
}

// notInUse are the unfinished lanes whose volume was never mounted. What was
// mounted once stays: the new plan adopts it, while taking it off would bring
// back an older state of it, or none, over what somebody wrote since.
func notInUse(run *journal.Run) []string {
	records, lanes := run.Records(), run.UnfinishedLanes()
	for _, s := range run.Plan().Steps {
		if s.KeptBy != "" && records[s.KeptBy].EverDone {
			lanes = slices.DeleteFunc(lanes, func(lane string) bool { return lane == s.Lane })
		}
	}
	if len(lanes) == 0 {
		return []string{"-"} // no lane; none at all would mean every lane
	}
	return lanes
}

func abandonCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "abandon RUN", Short: "End an unfinished run as it is, and list what it leaves behind", Args: exactly("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.abandon(c.Context(), plan.RunID(args[0]))
		}}
}

func (a *app) abandon(ctx context.Context, id plan.RunID) error {
	store, err := a.stateOf(id)
	if err != nil {
		return err
	}
	a.thawOwned(ctx, store)
	run, err := store.Resume(id)
	if err != nil {
		return liveIsBusy(id, err)
	}
	defer run.Close()
	m := run.Meta()
	if m.Outcome.Ended() {
		return hinted("", "run %s is over: %s", id, m.Outcome)
	}
	if err := a.confirm(ctx, "abandon run "+string(id), fmt.Sprintf("End run %s as it is? It can be neither finished nor undone afterwards.", id)); err != nil {
		return err
	}
	if err := a.endHooks(ctx, store, id); err != nil {
		return err
	}
	m.Outcome, m.Ended = journal.Abandoned, time.Now()
	if err := run.SetMeta(m); err != nil {
		return err
	}
	story := a.storyOf(m, run.Plan(), run.Records())
	if a.json() {
		return render.ShowJSON(a.stdout, story, time.Now())
	}
	fmt.Fprintf(a.stdout, "run %s is abandoned; it leaves behind:\n", id)
	return render.Show(a.stdout, story, time.Now(), a.style(a.stdoutFile))
}
