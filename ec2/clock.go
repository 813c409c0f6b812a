package ec2

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// clock is what EC2's answers tell about the time. Each one has a Date header, an error too.
type clock struct {
	mu    sync.Mutex
	known bool
	skew  time.Duration
}

// observe learns from an answer to a request that was under way between two instants of this machine's clock.
func (c *clock) observe(answer *http.Response, sent, received time.Time) {
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	// The header has whole seconds, so on average the clock behind it is half a second further.
	there := date.Add(500 * time.Millisecond)
	here := sent.Add(received.Sub(sent) / 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.skew = true, there.Sub(here.Round(0)) // Round takes the monotonic reading away
}

func (c *clock) read() (skew time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew, c.known
}

// Reached says whether EC2 has answered anything yet, a refusal too.
func (c *Client) Reached() bool {
	_, known := c.clock.read()
	return known
}

// Skew returns how far EC2's clock is ahead of this machine's (negative: behind it), to about a second, by the Date
// header of the answer that came last. A machine whose clock is wrong is told so even where EC2 refuses the request for
// it. EC2 is asked when it was not before.
func (c *Client) Skew(ctx context.Context) (time.Duration, error) {
	if skew, known := c.clock.read(); known {
		return skew, nil
	}
	err := c.Warm(ctx)
	skew, known := c.clock.read()
	if known {
		return skew, nil
	}
	if err == nil {
		err = invalidRequest("DescribeVolumes", "read EC2's clock", "its answers have no Date header")
	}
	return 0, err
}

// clockTolerance is how far this machine's clock may be off for it to be the better one: what is known of EC2's is known to
// about a second.
const clockTolerance = 5 * time.Second

// Now returns the time by EC2's clock where this machine's is known to differ from it, and else by this machine's. It
// asks nothing of EC2.
func (c *Client) Now() time.Time {
	now := time.Now()
	if skew, known := c.clock.read(); known && skew.Abs() >= clockTolerance {
		return now.Add(skew)
	}
	return now
}
