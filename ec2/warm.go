package ec2

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// minValidity is how long credentials must still be valid to go into a freeze with.
const minValidity = 2 * time.Minute

// Warm makes the next call as short as it can be: credentials at hand and good for two more minutes, the region known,
// and a connection (with TLS) open in the pool. It asks for a volume that cannot exist, the least that EC2 can be asked.
// Lanes that call at once warm one connection each. Any answer of EC2 will do, a refusal too.
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

// Ready returns a *Fault when there are no credentials to call EC2 with. It asks nobody but their source.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.refresh(ctx); err != nil {
		return c.reclassifyLate(Classify("DescribeVolumes", err).withDoing("call EC2"))
	}
	return nil
}

// refresh renews credentials that would expire soon, outside the freeze.
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
