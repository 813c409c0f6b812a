package engine

import (
	"context"
	"time"

	"snaptastic/ec2"
	"snaptastic/plan/units"
)

// How wrong this machine's clock may be. EC2 itself refuses a request that is signed more than five minutes off.
const (
	clockOff      = time.Minute     // from here EC2's time is used in its place
	clockMayBeOff = 2 * time.Minute // more than this is a failure of `doctor`
	mostSkew      = 3 * time.Minute // with more than this nothing is deleted by date: the machine wrote wrong dates as well
)

// cloudTime is the time by EC2's clock where this machine's is off: snapshots
// have their start times from there.
func (e *Engine) cloudTime(ctx context.Context) (time.Time, error) {
	c, err := e.cloud(ctx)
	if err != nil {
		return time.Time{}, err
	}
	skew, err := c.Skew(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if skew.Abs() < clockOff {
		skew = 0
	}
	return time.Now().Add(skew), nil
}

// believedTime is EC2's time, for what is deleted by date.
func believedTime(ctx context.Context, cloud *ec2.Client) (time.Time, error) {
	skew, err := cloud.Skew(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if skew.Abs() > mostSkew {
		return time.Time{}, hinted("set the clock (chronyc makestep, or systemctl restart systemd-timesyncd) and try again",
			"cannot clean up by date: this machine's clock is %s %s EC2's", units.Took(skew.Abs().Round(time.Second)), behind(skew))
	}
	return time.Now().Add(skew), nil
}

// behind says which way a clock is off.
func behind(skew time.Duration) string {
	if skew > 0 {
		return "behind"
	}
	return "ahead of"
}
