package ec2

import (
	"context"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Caller is the identity that the credentials belong to.
type Caller struct {
	ARN     string // such as arn:aws:sts::123456789012:assumed-role/web/i-0a1b2c3d
	Account string
}

// Caller calls STS GetCallerIdentity. It needs no permission, so an error means that the credentials are invalid.
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (c *Client) Caller(ctx context.Context) (Caller, error) {
	const op, doing = "GetCallerIdentity", "get the caller identity"
	loaded, err := c.serviceConfig(ctx)
	if err != nil {
		return Caller{}, Classify(op, err)
	}
	loaded.HTTPClient = c.httpClient()
	out, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Caller{}, Classify(op, err).withDoing(doing)
	}
	return Caller{ARN: aws.ToString(out.Arn), Account: aws.ToString(out.Account)}, nil
}

// serviceConfig is the configuration for services other than EC2. An Amazon endpoint URL serves EC2 only; a local one (the
// sandbox) serves all services.
func (c *Client) serviceConfig(ctx context.Context) (aws.Config, error) {
	if _, err := c.connect(ctx); err != nil { // it finds the region
		return aws.Config{}, err
	}
	loaded := c.loaded
	loaded.Region, loaded.Credentials, loaded.HTTPClient = c.region, c.credentials(), c.httpClient().from
	if at, err := url.Parse(c.config.EndpointURL); err == nil && at.Host != "" && !strings.Contains(at.Host, "amazonaws.com") {
		loaded.BaseEndpoint = aws.String(c.config.EndpointURL)
	}
	return loaded, nil
}
