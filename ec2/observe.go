package ec2

import (
	"cmp"
	"time"
)

// A Call is one request to EC2, with its answer. A call that is retried is several.
type Call struct {
	Action    string
	Sent      time.Time
	Took      time.Duration // until the answer was read, or the attempt given up
	Code      string        // EC2's error code, or the class of the failure where it gave none; "" for success
	Throttled bool
}

// OnCall has f told of each request after its answer, from many goroutines; nil tells nobody. f must return at once: a call
// may be made while file systems are frozen.
func (c *Client) OnCall(f func(Call)) {
	if f == nil {
		c.observer.Store(nil)
		return
	}
	c.observer.Store(&f)
}

func callOf(op string, sent time.Time, fault *Fault) Call {
	call := Call{Action: op, Sent: sent, Took: time.Since(sent)}
	if fault != nil {
		call.Code, call.Throttled = cmp.Or(fault.Code, fault.Class.String()), fault.Class == Throttled
	}
	return call
}
