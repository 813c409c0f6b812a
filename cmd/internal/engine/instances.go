package engine

import (
	"context"
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
