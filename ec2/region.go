package ec2

import (
	"context"
	"net/url"
	"strings"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
)

// regional keeps the clients of other regions.
type regional struct {
	mu sync.Mutex
	in map[string]*Client
}

// In returns the client for another region, with the same credentials, and c itself for its own region or "". It is made
// once. An endpoint URL of Amazon is for one region and is not used in another one; a local one serves every region.
func (c *Client) In(ctx context.Context, region string) (*Client, error) {
	own, err := c.Region(ctx)
	if err != nil || region == "" || region == own {
		return c, err
	}
	c.elsewhere.mu.Lock()
	defer c.elsewhere.mu.Unlock()
	if there := c.elsewhere.in[region]; there != nil {
		return there, nil
	}
	cfg := c.config
	cfg.Region = region
	if isAmazons(cfg.EndpointURL) {
		cfg.EndpointURL = ""
	}
	there := newClient(cfg, c.loaded, c.metadata)
	there.observer, there.abroad = c.observer, true
	if c.elsewhere.in == nil {
		c.elsewhere.in = map[string]*Client{}
	}
	c.elsewhere.in[region] = there
	return there, nil
}

func isAmazons(endpoint string) bool {
	at, err := url.Parse(endpoint)
	return err == nil && strings.Contains(at.Host, "amazonaws.com")
}

// leaveEndpoint drops an endpoint of the home region, which the environment or the profile named.
func (c *Client) leaveEndpoint(o *sdk.Options) {
	if c.abroad && o.BaseEndpoint != nil && isAmazons(*o.BaseEndpoint) {
		o.BaseEndpoint = nil
	}
}
