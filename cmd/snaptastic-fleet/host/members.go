package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// instance is of `snaptastic instances -o json` what is used here.
type instance struct {
	ID   string            `json:"id"`
	Tags map[string]string `json:"tags"`
}

// Members finds the hosts of a cluster by their tags, as they are now.
func (c *Control) Members(ctx context.Context, by flow.Tagged) (flow.Members, error) {
	if len(by.Tags) == 0 || by.ShardTag == "" {
		return flow.Members{}, refused("hosts are found by tags and a tag for the shard, and these are missing")
	}
	stop := beating(ctx, nil)
	defer stop()
	args := []string{"instances"}
	for _, key := range slices.Sorted(maps.Keys(by.Tags)) {
		args = append(args, "--tag", key+"="+by.Tags[key])
	}
	var found []instance
	if err := c.Program.run(ctx, &found, nil, args...); err != nil {
		var exit *Exit
		if errors.As(err, &exit) && exit.Code == 2 {
			return flow.Members{}, verdict(err)
		}
		return flow.Members{}, err // tried again by the workflow: EC2 may not answer now
	}
	hosts, err := membersOf(by, found)
	if err != nil {
		return flow.Members{}, refused(cut(err.Error()))
	}
	return flow.Members{Hosts: hosts}, nil
}

// membersOf makes hosts of instances, in the order of their shards. Whatever is not plain is an error: a set must not lack a
// shard, or have one twice, because of a tag.
func membersOf(by flow.Tagged, found []instance) ([]flow.Host, error) {
	with := pairs(by.Tags)
	if least := max(1, by.AtLeast); len(found) < least {
		return nil, fmt.Errorf("%d running instances have the tags %s, and at least %d must. Check the tags, and the account and region of control", len(found), with, least)
	}
	shards, names := map[string]string{}, map[string]string{} // ids by these
	hosts := make([]flow.Host, 0, len(found))
	for _, i := range found {
		h, err := i.host(by)
		switch {
		case err != nil:
			return nil, err
		case shards[h.Shard] != "":
			return nil, fmt.Errorf("%s and %s both have %s=%s. Stop one of them, or change its tags", shards[h.Shard], i.ID, by.ShardTag, h.Shard)
		case names[h.Name] != "":
			return nil, fmt.Errorf("%s and %s both have %s=%s. Change the tags of one of them", names[h.Name], i.ID, by.NameTag, h.Name)
		}
		shards[h.Shard], names[h.Name] = i.ID, i.ID
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b flow.Host) int { return strings.Compare(a.Shard, b.Shard) })
	return hosts, nil
}

// host is the host that an instance is by its tags.
func (i instance) host(by flow.Tagged) (flow.Host, error) {
	h := flow.Host{Name: i.ID, Shard: i.Tags[by.ShardTag]}
	needed := []string{by.ShardTag}
	if by.NameTag != "" {
		h.Name = i.Tags[by.NameTag]
		needed = append(needed, by.NameTag)
	}
	for _, tag := range needed {
		switch value := i.Tags[tag]; {
		case value == "":
			return h, fmt.Errorf("%s has the tags %s and no tag %q. Tag it, or take the other tags off it", i.ID, pairs(by.Tags), tag)
		case !config.IsName(value):
			return h, fmt.Errorf("the tag %q of %s is %q: must be letters, digits, dots, dashes and underscores", tag, i.ID, value)
		}
	}
	return h, nil
}

func pairs(tags map[string]string) string {
	list := make([]string, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, key+"="+tags[key])
	}
	return strings.Join(list, " ")
}

// InstanceID is the EC2 instance that this host is.
func InstanceID(ctx context.Context, p Program) (string, error) {
	var self []instance
	if err := p.run(ctx, &self, nil, "instances", "--self"); err != nil {
		return "", fmt.Errorf("cannot find out which instance this is: %w", err)
	}
	if len(self) != 1 || !config.IsName(self[0].ID) {
		return "", errors.New("cannot find out which instance this is: snaptastic named none. Is it as new as snaptastic-fleet?")
	}
	return self[0].ID, nil
}
