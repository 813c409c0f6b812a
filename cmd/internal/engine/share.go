package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"snaptastic/ec2"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/plan/units"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// toShare finds the sets that are not shared yet with all accounts of share_with. Where that cannot be found out, a lane fails with it.
func (e *Engine) toShare(ctx context.Context, r *recipe.Request, source []ec2.Snapshot) error {
	if len(r.Spec.ShareWith) == 0 {
		return nil
	}
	shared, err := e.sharedWithAll(ctx, r.Spec)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		r.Unknown = append(r.Unknown, recipe.Unknown{Name: "share", Why: fmt.Sprintf("cannot find out which sets are shared: %v", err), Hint: plan.HintOf(err)})
		return nil
	}
	have := 0
	for _, w := range snapset.WholeSets(source, r.Spec.FilterTags) {
		if sharedAs(shared, w) {
			have++
			continue
		}
		r.Shares = append(r.Shares, recipe.NewSetShare(w))
	}
	if have > 0 {
		r.Notes = append(r.Notes, units.Count(have, "set is", "sets are")+" shared already")
	}
	return nil
}

// sharedWithAll are the snapshots that each account of share_with may copy.
func (e *Engine) sharedWithAll(ctx context.Context, spec recipe.Spec) (map[string]bool, error) {
	c, err := e.cloud(ctx)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, account := range spec.ShareWith {
		var all []ec2.Snapshot
		err := e.retry(ctx, func(ctx context.Context) (err error) {
			all, err = c.Snapshots(ctx, ec2.SnapshotQuery{Tags: literally(spec.FilterTags), SharedTo: account})
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			count[s.ID]++
		}
	}
	shared := map[string]bool{}
	for id, n := range count {
		shared[id] = n == len(spec.ShareWith)
	}
	return shared, nil
}

func sharedAs(shared map[string]bool, w snapset.WholeSet) bool {
	return !slices.ContainsFunc(w.Members, func(s ec2.Snapshot) bool { return !shared[s.ID] })
}

// Manifest describes the newest set that is shared with all accounts of share_with, for `run copy --from` there.
func (e *Engine) Manifest(ctx context.Context, name string) (snapset.Manifest, error) {
	var none snapset.Manifest
	spec, err := e.spec(ctx, name)
	if err != nil {
		return none, err
	}
	id, err := e.identity(ctx)
	if err != nil {
		return none, err
	}
	spec.ShareWith = othersThan(id.AccountID, spec.ShareWith)
	if len(spec.ShareWith) == 0 {
		return none, hinted(`set share_with = ["123456789012"] in the snapshotter, and run `+"`snaptastic run copy "+name+"`", "cannot write a manifest: the snapshotter %q shares its sets with no other account", name)
	}
	source, err := e.snapshotsIn(ctx, "", spec)
	if err != nil {
		return none, err
	}
	shared, err := e.sharedWithAll(ctx, spec)
	if err != nil {
		return none, err
	}
	var m snapset.Manifest
	lacks := map[string]bool{}
	for _, v := range spec.Volumes {
		lacks[v.MountPoint] = true
	}
	for _, w := range snapset.WholeSets(source, spec.FilterTags) {
		if !sharedAs(shared, w) {
			continue
		}
		one := snapset.ManifestOf(w, w.Members[0].OwnerID, id.Region, spec.FilterTags, spec.ShareWith)
		switch {
		case spec.Together():
			return one, nil
		case slices.ContainsFunc(one.Members, func(s snapset.ManifestMember) bool { return !lacks[s.MountPoint] }):
			continue // a newer set has that volume, or it is not declared any more
		case m.Set == "":
			m = one
		default:
			m.Also = append(m.Also, snapset.ManifestSet{Set: one.Set, DataTime: one.DataTime, Members: one.Members})
		}
		for _, s := range one.Members {
			delete(lacks, s.MountPoint)
		}
	}
	if m.Set != "" {
		return m, nil
	}
	return none, hinted("run `snaptastic run copy "+name+"` first", "cannot write a manifest: no set of %q that is completed is shared with all of its accounts", name)
}

// othersThan leaves out the own account: the same settings may be in use in several.
func othersThan(own string, accounts []string) []string {
	return slices.DeleteFunc(slices.Clone(accounts), func(a string) bool { return a == own })
}

// lackingOfOthers adds the set of another account, if this account lacks it in its region. A copy block of that region says how
// it is encrypted and kept. A manifest that is not right has a lane that fails.
func (e *Engine) lackingOfOthers(r *recipe.Request, here []ec2.Snapshot, now time.Time) error {
	spec := r.Spec
	text, err := readManifest(spec.CopyFrom)
	var m snapset.Manifest
	if err == nil {
		m, err = snapset.ReadManifest(text)
	}
	if err == nil {
		var points []string
		for _, v := range spec.Volumes {
			points = append(points, v.MountPoint)
		}
		err = m.Check(r.Target.AccountID, now, spec.FilterTags, points)
	}
	if err != nil {
		r.Unknown = append(r.Unknown, recipe.Unknown{Name: "from:" + spec.CopyFrom, Why: fmt.Sprintf("cannot copy from the manifest %s: %v", spec.CopyFrom, err),
			Hint: cmp.Or(plan.HintOf(err), `the owner's account writes one with "snaptastic snapshots NAME --manifest FILE"`)})
		return nil
	}
	d := recipe.Destination{Region: r.Target.Region, Keep: spec.Keep}
	if i := slices.IndexFunc(spec.Copies, func(o recipe.Destination) bool { return o.Region == d.Region }); i >= 0 {
		d = spec.Copies[i]
	}
	var source []ec2.Snapshot
	for _, one := range m.Sets() {
		var expires time.Time
		if d.Keep == nil && spec.ExpireAfter > 0 {
			expires = one.DataTime.Add(spec.ExpireAfter)
		}
		source = append(source, one.Snapshots(expires)...)
	}
	return e.lackingIn(r, recipe.SetCopy{From: m.Region, Owner: m.Owner}, d, source, here, now)
}

// readManifest reads a file that only root and the running user may write, as settings are: it says what is labelled restorable.
func readManifest(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hang it
	if err != nil {
		if at, is := errors.AsType[*fs.PathError](err); is {
			err = at.Err
		}
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > snapset.MaxManifest:
		return nil, fmt.Errorf("it has %d bytes, and a manifest has at most %d", info.Size(), snapset.MaxManifest)
	}
	if err := linux.CheckFile(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, snapset.MaxManifest))
}
