package host

import (
	"context"
	"errors"
	"slices"

	"snaptastic-fleet/flow"
)

// setParts is of `snaptastic label --set … --dry-run -o json` what is used here.
type setParts struct {
	Members int `json:"members"`
	Parts   []struct {
		Labelled bool              `json:"labelled"`
		Tags     map[string]string `json:"tags"`
	} `json:"parts"`
}

// Whole says whether a set can be restored on hosts of some shards. It changes nothing.
func (c *Control) Whole(ctx context.Context, req flow.WholeRequest) (flow.WholeResult, error) {
	if err := identities(req.Set); err != nil {
		return flow.WholeResult{}, err
	}
	stop := beating(ctx, nil)
	defer stop()
	var s setParts
	err := c.Program.run(context.WithoutCancel(ctx), &s, nil, "label", "--set", req.Set, "--dry-run")
	var exit *Exit
	if errors.As(err, &exit) && exit.Code == 2 {
		return flow.WholeResult{}, verdict(err)
	}
	return s.whole(req.Shards), err // tried again by the workflow: EC2 may not answer now
}

func (s setParts) whole(shards []string) flow.WholeResult {
	r := flow.WholeResult{Members: s.Members}
	byKey := map[string]map[string]bool{} // the values of each tag
	for _, p := range s.Parts {
		if !p.Labelled {
			continue
		}
		r.Labelled++
		for key, value := range p.Tags {
			if byKey[key] == nil {
				byKey[key] = map[string]bool{}
			}
			byKey[key][value] = true
		}
	}
	r.Missing = missing(shards, byKey)
	return r
}

// missing are the shards that no snapshot is of. The tag that tells the shard is a filter tag of the hosts, whose key only they know: it is
// the one that names most of the shards. Where none names any, the hosts tell their parts by something else, and nothing is known of them here.
func missing(shards []string, byKey map[string]map[string]bool) []string {
	var best []string
	found := false
	for _, values := range byKey {
		lacks := slices.DeleteFunc(slices.Clone(shards), func(s string) bool { return values[s] })
		if len(lacks) < len(shards) && (!found || len(lacks) < len(best)) {
			best, found = lacks, true
		}
	}
	return best
}
