package engine

import (
	"context"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/steps/snapset"
)

// overADay is the time that an instance's CPU is looked at.
const overADay = 24 * time.Hour

// Instances are the running instances of which few use their CPU.
type Instances struct {
	At       time.Time // by EC2's clock
	Running  int
	CPUBelow float64 // percent
	Idle     []IdleInstance
}

// IdleInstance is one that does little, or of which nobody knows.
type IdleInstance struct {
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Launched time.Time         `json:"launched"`
	CPU      *float64          `json:"cpu_percent"` // average over a day; null: CloudWatch has no data
	Tags     map[string]string `json:"tags"`
}

// Instances reports running instances with the filter tags of a snapshotter, or all, whose CPU was used less than so many
// percent over a day. It stops none: an instance that does little may be a standby.
func (e *Engine) Instances(ctx context.Context, name string, cpuBelow float64) (Instances, error) {
	cloud, now, filter, err := e.cleanable(ctx, "instances", name)
	if err != nil {
		return Instances{}, err
	}
	return idleInstances(ctx, cloud, now, filter, cpuBelow)
}

func idleInstances(ctx context.Context, cloud *ec2.Client, now time.Time, filter map[string]string, cpuBelow float64) (Instances, error) {
	out := Instances{At: now, CPUBelow: cpuBelow, Idle: []IdleInstance{}}
	all, err := cloud.Instances(ctx, "")
	if err != nil {
		return out, err
	}
	for _, i := range all {
		if i.State != ebs.InstanceRunning || !snapset.HasTags(i.Tags, filter) {
			continue
		}
		out.Running++
		percent, known, err := cloud.AverageCPU(ctx, i.ID, now, overADay)
		if err != nil {
			return out, err
		}
		one := IdleInstance{ID: i.ID, Type: i.Type, Launched: i.Launched, Tags: i.Tags}
		if known && percent >= cpuBelow {
			continue
		}
		if known {
			one.CPU = &percent
		}
		out.Idle = append(out.Idle, one)
	}
	return out, nil
}

// An Instance is one that runs.
type Instance struct {
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Zone     string            `json:"zone"`
	Launched time.Time         `json:"launched,omitzero"` // zero where only the instance itself was asked
	Tags     map[string]string `json:"tags,omitempty"`
}

// An InstancesRequest asks for running instances by all of these tags, or for the instance that this is.
type InstancesRequest struct {
	Tags []string // KEY=VALUE
	Self bool
}

// RunningInstances returns the running instances of the account and region that a request asks for, by id. No settings file is
// needed; where there is one, its region counts. For Self the metadata service is asked, which takes no permission.
func (e *Engine) RunningInstances(ctx context.Context, r InstancesRequest) ([]Instance, error) {
	tags := map[string]string{}
	for _, pair := range r.Tags {
		key, value, ok := strings.Cut(pair, "=")
		if _, twice := tags[key]; !ok || key == "" || twice {
			return nil, usageError("--tag %q: must be KEY=VALUE, with each KEY once", pair)
		}
		tags[key] = value
	}
	if r.Self == (len(tags) > 0) {
		return nil, usageError("instances needs --tag KEY=VALUE, once or more, or --self")
	}
	if r.Self {
		i, err := e.identity(ctx)
		return []Instance{{ID: i.InstanceID, Type: i.Type, Zone: i.Zone}}, err
	}
	c, err := e.cloudAnywhere(ctx)
	if err != nil {
		return nil, err
	}
	found, err := c.RunningInstances(ctx, tags)
	out := make([]Instance, 0, len(found))
	for _, i := range found {
		out = append(out, Instance{ID: i.ID, Type: i.Type, Zone: i.Zone, Launched: i.Launched, Tags: i.Tags})
	}
	return out, err
}
