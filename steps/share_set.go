package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"snaptastic/ec2"
	"snaptastic/plan"
)

// ShareSet lets other accounts copy each snapshot of a labelled set, and create volumes from it. It is never undone: what was
// shared may have been copied.
var ShareSet = plan.Def[ShareSetIn, SharedSet]{Kind: "share-set", ObserveBy: plan.ByState, Scope: plan.Cloud}

// ShareSetIn says with whom.
type ShareSetIn struct {
	Set      plan.Value[SnapshotSet] `json:"set"`
	Accounts []string                `json:"accounts"` // 12 digits each
}

// SharedSet is a set that is shared.
type SharedSet struct {
	SnapshotIDs []string `json:"snapshot_ids"`
	Accounts    []string `json:"accounts"`
}

// Facts say with whom it is shared.
func (s SharedSet) Facts() (f plan.Facts) {
	f.Remarks = []string{"shared with " + strings.Join(s.Accounts, ", ")}
	for _, id := range s.SnapshotIDs {
		f.Each = append(f.Each, plan.Facts{SnapshotID: id})
	}
	return f
}

func (in ShareSetIn) out() SharedSet { return SharedSet{in.Set.Must().ids(), in.Accounts} }

func (w *Env) shareSet() plan.Funcs[ShareSetIn, SharedSet] {
	return plan.Funcs[ShareSetIn, SharedSet]{
		Observe: func(ctx context.Context, _ plan.Attempt, in ShareSetIn) (plan.Observed[SharedSet], error) {
			if missing, err := w.notShared(ctx, in); err != nil || len(missing) > 0 {
				return plan.Observed[SharedSet]{State: plan.Absent}, err
			}
			return plan.Observed[SharedSet]{State: plan.Satisfied, Out: in.out()}, nil
		},
		Do: func(ctx context.Context, _ plan.Attempt, in ShareSetIn) (SharedSet, error) {
			missing, err := w.notShared(ctx, in)
			for _, id := range sortedKeys(missing) { // one that is refused keeps the others from nothing
				if failed := shareErrorAction(w.shareWithEach(ctx, id, missing[id])); err == nil {
					err = failed
				}
			}
			if err != nil {
				return SharedSet{}, err
			}
			return in.out(), nil
		},
		Preview: func(in ShareSetIn) plan.Preview {
			return plan.PreviewOf(plan.PreviewChange, "share it with %s", strings.Join(in.Accounts, ", "))
		},
	}
}

// shareWithEach shares a snapshot with some accounts. EC2 refuses a call for one account of several, such as one that is closed: then the
// others are named alone.
func (w *Env) shareWithEach(ctx context.Context, id string, accounts []string) error {
	err := w.Cloud.ShareSnapshot(ctx, id, accounts...)
	if len(accounts) == 1 || ec2.ClassOf(err) != ec2.Invalid {
		return err
	}
	for _, account := range accounts {
		if failed := w.Cloud.ShareSnapshot(ctx, id, account); failed != nil {
			err = fmt.Errorf("account %s: %w", account, failed)
		}
	}
	return err
}

// notShared are the snapshots that are not shared yet, each with the accounts that lack it.
func (w *Env) notShared(ctx context.Context, in ShareSetIn) (map[string][]string, error) {
	missing := map[string][]string{}
	ids := in.Set.Must().ids()
	for _, account := range in.Accounts {
		have, err := w.Cloud.Snapshots(ctx, ec2.SnapshotQuery{IDs: ids, SharedTo: account})
		if err != nil {
			return nil, errorAction(err)
		}
		for _, id := range ids {
			if !slices.ContainsFunc(have, func(s ec2.Snapshot) bool { return s.ID == id }) {
				missing[id] = append(missing[id], account)
			}
		}
	}
	return missing, nil
}

const shareHint = "set `kms_key_id` of each volume to a customer managed key whose key policy allows these accounts to use it. Volumes are encrypted with it when they are created: `run restore` replaces those that exist"

// shareErrorAction says more of what EC2 refuses.
func shareErrorAction(err error) error {
	if fault, is := asFault(err); is && fault.Code == "OperationNotPermitted" {
		return plan.Terminal(shareHint, fmt.Errorf("EC2 shares no snapshot that is encrypted with the account's default key for EBS: %w", err))
	}
	return eventualErrorAction(err)
}
