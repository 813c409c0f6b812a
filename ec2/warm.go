package ec2

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// minValidity is how long credentials must still be valid when a freeze starts.
const minValidity = 2 * time.Minute

// Warm shortens the next call: it fetches credentials that are valid for two more minutes, finds the region, and
// opens a connection (with TLS) in the pool. It describes a volume that cannot exist, the cheapest request.
// Concurrent callers open one connection each. Any answer counts, even an error.
func (c *Client) Warm(ctx context.Context) error {
	const doing = "open a connection to EC2"
	if err := c.refresh(ctx); err != nil {
		return c.reclassifyLate(Classify("DescribeVolumes", err).withDoing(doing))
	}
	_, err := call(ctx, c, "DescribeVolumes", doing, (*sdk.Client).DescribeVolumes, &sdk.DescribeVolumesInput{
		MaxResults: aws.Int32(5), Filters: []types.Filter{filterOf("volume-id", "vol-00000000000000000")},
	})
	if fault, ok := errors.AsType[*Fault](err); ok && fault.Code != "" && fault.Class != Canceled {
		return nil
	}
	return err
}

// Ready returns a *Fault if there are no credentials. It asks only their source.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.refresh(ctx); err != nil {
		return c.reclassifyLate(Classify("DescribeVolumes", err).withDoing("call EC2"))
	}
	return nil
}

// refresh renews credentials that would expire soon, before the freeze.
func (c *Client) refresh(ctx context.Context) error {
	source := c.credentials()
	have, err := source.Retrieve(ctx)
	if err != nil {
		return err
	}
	if !have.CanExpire || time.Until(have.Expires) > minValidity {
		return nil
	}
	if cache, ok := c.loaded.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
		_, err = source.Retrieve(ctx)
	}
	return err
}
