package engine

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"snaptastic/ec2"
	"snaptastic/plan/units"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

const (
	trialsAtOnce  = 4 // dry runs at once
	nothingOfOurs = "not tested: no volumes or snapshots of Snaptastic exist yet"
	tryItLater    = "run doctor again after the first mount and snapshot"
	cleanNeedsIt  = "only needed for `snaptastic clean`; to add it: "
)

// instance looks at the metadata service, the region and the userdata.
func (d *doctor) instance(ctx context.Context) {
	c, err := d.cloud(ctx)
	if err != nil {
		d.failed("metadata", err)
		return
	}
	self, err := d.identity(ctx)
	if err != nil {
		d.failed("metadata", err)
	} else {
		d.self = self
		d.ok("metadata", "%s, %s in %s, account %s", self.InstanceID, self.Type, self.Zone, self.AccountID)
	}
	if region, err := c.Region(ctx); err != nil {
		d.failed("region", err)
	} else if self.Region != "" && region != self.Region {
		d.warn("region", "remove the region from settings, flags and environment: it comes from the instance",
			"%s, but the instance is in %s: its volumes will not be found", region, self.Region)
	} else {
		d.ok("region", "%s", region)
	}
	d.userdata(ctx, c)
}

// userdata is never printed: it may hold secrets. Its keys are.
func (d *doctor) userdata(ctx context.Context, c *ec2.Client) {
	from := "--userdata"
	raw, err := d.UserData()
	if err == nil && raw == nil {
		if d.self.InstanceID == "" {
			d.warn("userdata", "pass userdata with --userdata", "not checked: the metadata service does not answer")
			return
		}
		from = "the instance"
		raw, err = c.Metadata().UserData(ctx)
	}
	var keys map[string]json.RawMessage
	switch {
	case err != nil:
		d.failed("userdata", err)
	case len(raw) == 0:
		d.ok("userdata", "the instance has none: set filter_tags")
	case json.Unmarshal(raw, &keys) != nil:
		d.warn("userdata", "make it a JSON object, or set filter_tags", "userdata of %s is not a JSON object (%d bytes)", from, len(raw))
	default:
		d.ok("userdata", "of %s, a JSON object with %s", from, several(slices.Sorted(maps.Keys(keys))))
	}
}

func (d *doctor) credentials(ctx context.Context) {
	c, err := d.cloud(ctx)
	if err != nil {
		return // said already
	}
	who, err := c.Caller(ctx)
	if err != nil {
		d.failed("credentials", err)
		return
	}
	d.caller = true
	if d.self.AccountID != "" && who.Account != d.self.AccountID {
		d.warn("credentials", "use the instance's role", "%s belongs to account %s, the instance to %s", who.ARN, who.Account, d.self.AccountID)
		return
	}
	d.ok("credentials", "%s", who.ARN)
}

// permissions tries each action. Nothing is done: DryRun.
func (d *doctor) permissions(ctx context.Context) {
	if !d.caller {
		d.warn("permissions", "", "not checked: no valid credentials")
		return
	}
	c, _ := d.cloud(ctx) // it was there for the credentials
	on, made := d.subject(ctx, c)
	needed := recipe.Permissions(recipe.Operations()) // by runs; the others are of clean-ups
	actions := slices.DeleteFunc(slices.Clone(ec2.Permissions), func(action string) bool {
		return needed[action].OptIn && !slices.ContainsFunc(d.specs, needed[action].If)
	})
	answers := make([]error, len(actions))
	var trying errgroup.Group
	trying.SetLimit(trialsAtOnce)
	for i, action := range actions {
		trying.Go(func() error { answers[i] = c.DryRun(ctx, action, on); return nil })
	}
	_ = trying.Wait()
	for i, action := range actions {
		p, run := needed[action]
		d.permission(action, answers[i], !run || p.Cleaning, p.OwnOnly && !made[action])
	}
}

// permission tells what EC2 said to one dry run. cleanOnly: no run needs it. untried: a policy may allow it on what Snaptastic
// made alone, and there was nothing of that to try it on.
func (d *doctor) permission(action string, err error, cleanOnly, untried bool) {
	check := "ec2:" + action
	fault, _ := err.(*ec2.Fault)
	switch {
	case err == nil:
		d.ok(check, "allowed")
	case fault == nil:
		d.failed(check, err)
	case cleanOnly && (fault.Class == ec2.NotFound || fault.Class == ec2.Invalid || strings.Contains(fault.Message, nowhere)):
		return // it was tried on what does not exist: what EC2 says to that tells nothing
	case fault.Class == ec2.Denied && (untried || strings.Contains(fault.Message, nowhere)):
		d.warn(check, tryItLater, "%s", nothingOfOurs)
	case fault.Class == ec2.Denied && cleanOnly:
		d.warn(check, cleanNeedsIt+fault.Hint(), "not allowed")
	case fault.Class == ec2.Denied:
		d.fail(check, fault.Hint(), "not allowed (%s)", fault.Code)
	case fault.Class == ec2.InUse, fault.Class == ec2.SettleLater, fault.Class == ec2.Limit:
		d.ok(check, "allowed") // EC2 looks at the permission before it looks at the state
	case fault.Class == ec2.NotFound, fault.Class == ec2.Invalid:
		d.warn(check, tryItLater, "%s", nothingOfOurs)
	default:
		d.warn(check, "try again", "could not be tested: %s", fault.Message)
	}
}

// subject finds what to try the actions on: a volume of ours that is attached,
// and a snapshot of ours. made says which actions are tried on such a thing.
func (d *doctor) subject(ctx context.Context, c *ec2.Client) (on ec2.DryRunRequest, made map[string]bool) {
	on = ec2.DryRunRequest{InstanceID: d.self.InstanceID, Zone: d.self.Zone}
	made = map[string]bool{}
	// What is refused here is refused again when it is tried, and told then.
	if d.self.InstanceID != "" {
		volumes, _ := c.AttachedVolumes(ctx, d.self.InstanceID)
		for _, v := range volumes {
			at, _ := v.On(d.self.InstanceID)
			if v.Tags[steps.TagToken] != "" && !strings.HasSuffix(at.Device, "da1") {
				on.VolumeID, on.Device, made["DeleteVolume"] = v.ID, at.Device, true
				break
			}
		}
	}
	if len(d.specs) > 0 {
		tags := map[string][]string{}
		for k, v := range d.specs[0].FilterTags {
			tags[k] = []string{v}
		}
		if found, err := c.Snapshots(ctx, ec2.SnapshotQuery{Tags: tags, TagKeys: []string{steps.TagToken}}); err == nil && len(found) > 0 {
			on.SnapshotID, made["DeleteSnapshot"] = found[0].ID, true
		}
	}
	return on, made
}

// clock compares this machine's clock with EC2's: expiry, and the signature of
// each request, go by it.
func (d *doctor) clock(ctx context.Context) {
	c, err := d.cloud(ctx)
	if err != nil {
		return
	}
	skew, err := c.Skew(ctx)
	switch {
	case err != nil && !d.caller:
		d.warn("clock", "", "not checked: no valid credentials")
	case err != nil:
		d.warn("clock", "", "not checked: %s", oneLine(err.Error()))
	case skew.Abs() > clockMayBeOff:
		d.fail("clock", "set it (chronyd or timesyncd)", "%s %s EC2's", units.Took(skew.Abs().Round(time.Second)), behind(skew))
	default:
		d.ok("clock", "matches EC2's")
	}
}
