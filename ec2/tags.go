package ec2

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// maxTagged is how many resources one CreateTags names: EC2 accepts 1000 and recommends far fewer.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html
const maxTagged = 200

// MaxTaggedTogether is how many resources EC2 takes in one CreateTags.
const MaxTaggedTogether = 1000

// CreateTagsTogether sets tags on at most [MaxTaggedTogether] resources in one request, which EC2 applies to all or to none.
func (c *Client) CreateTagsTogether(ctx context.Context, ids []string, tags map[string]string) error {
	if len(ids) > MaxTaggedTogether {
		return invalidRequest("CreateTags", "tag resources together", fmt.Sprintf("EC2 takes %d in one call, not %d", MaxTaggedTogether, len(ids)))
	}
	return c.createTags(ctx, ids, tags)
}

func (c *Client) createTags(ctx context.Context, ids []string, tags map[string]string) error {
	_, err := call(ctx, c, "CreateTags", "tag "+idList(ids), (*sdk.Client).CreateTags, &sdk.CreateTagsInput{Resources: ids, Tags: tagList(tags)})
	return err
}

// CreateTags sets tags on resources and overwrites existing values. Up to 200 ids go into one request, which EC2
// applies to all or to none.
func (c *Client) CreateTags(ctx context.Context, ids []string, tags map[string]string) error {
	if len(tags) == 0 {
		return nil
	}
	for some := range slices.Chunk(ids, maxTagged) {
		if err := c.createTags(ctx, some, tags); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTags removes the tags with these keys, whatever their values. A missing tag is no error.
func (c *Client) DeleteTags(ctx context.Context, ids []string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	list := make([]types.Tag, 0, len(keys))
	for _, key := range keys {
		list = append(list, types.Tag{Key: aws.String(key)})
	}
	for some := range slices.Chunk(ids, maxTagged) {
		_, err := call(ctx, c, "DeleteTags", "remove tags of "+idList(some), (*sdk.Client).DeleteTags,
			&sdk.DeleteTagsInput{Resources: some, Tags: list})
		if err != nil {
			return err
		}
	}
	return nil
}

// Literal escapes EC2's wildcards in a filter value.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
func Literal(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}

func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

func tagsOnCreate(kind types.ResourceType, tags map[string]string) []types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []types.TagSpecification{{ResourceType: kind, Tags: tagList(tags)}}
}

func tagsFrom(list []types.Tag) map[string]string {
	tags := make(map[string]string, len(list))
	for _, tag := range list {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags
}

func hasTags(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func idList(ids []string) string {
	if len(ids) <= 3 {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", ids[0], len(ids)-1)
}
