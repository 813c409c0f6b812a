package ec2

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// clock holds the difference between EC2's clock and this machine's. Every answer has a Date header, errors too.
type clock struct {
	mu    sync.Mutex
	known bool
	skew  time.Duration
}

// observe updates the skew from an answer. sent and received are this machine's times around the request.
func (c *clock) observe(answer *http.Response, sent, received time.Time) {
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	// The header has whole seconds, so on average EC2's clock is half a second ahead of it.
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

// Reached reports whether EC2 has answered any request, even with an error.
func (c *Client) Reached() bool {
	_, known := c.clock.read()
	return known
}

// Skew returns how far EC2's clock is ahead of this machine's (negative: behind), to about a second, from the Date
// header of the last answer. It works even where EC2 rejects requests because the clock is wrong. Without an answer
// yet, it sends a request.
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

// clockTolerance is the skew below which this machine's clock is used as it is: EC2's time is known only to about a
// second.
const clockTolerance = 5 * time.Second

// Now returns the current time by EC2's clock if this machine's clock is known to be wrong, and by this machine's
// clock otherwise. It sends no request.
func (c *Client) Now() time.Time {
	now := time.Now()
	if skew, known := c.clock.read(); known && skew.Abs() >= clockTolerance {
		return now.Add(skew)
	}
	return now
}
