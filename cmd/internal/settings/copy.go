package settings

import (
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

var copyShape = &shape{label: "region", attrs: []argument{copyKeyAttr, copyMaxLagAttr}, blocks: map[string]*shape{"keep": keepShape}, once: []string{"keep"}}

// copies reads where the sets are copied to. A destination keeps what the snapshotter keeps, unless it has rules of its own.
func (r *reader) copies(content *hcl.BodyContent, spec *recipe.Spec) {
	for _, block := range content.Blocks.OfType("copy") {
		d := recipe.Destination{Region: block.Labels[0], Keep: spec.Keep}
		switch {
		case !regionName.MatchString(d.Region):
			r.mistake(block.LabelRanges[0], "Invalid region", "Expected a region such as \"eu-central-1\"; got %q.", d.Region)
		case slices.ContainsFunc(spec.Copies, func(o recipe.Destination) bool { return o.Region == d.Region }):
			r.mistake(block.LabelRanges[0], "Duplicate copy block", "There is one for %s already; write everything into one.", d.Region)
		}
		inside, diags := block.Body.Content(copyShape.schema())
		r.diags = append(r.diags, diags...)
		d.KMSKeyID, _ = copyKeyAttr.given(r, inside.Attributes)
		d.MaxLag = copyMaxLagAttr.value(r, inside.Attributes)
		for _, keep := range inside.Blocks.OfType("keep") {
			d.Keep = r.keepRules(keep)
		}
		spec.Copies = append(spec.Copies, d)
	}
}

var (
	accountForm  = regexp.MustCompile(`^[0-9]{12}$`)
	absolutePath = regexp.MustCompile(`^/`)
)

// maxShares is how many accounts one request to EC2 may name.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html
const maxShares = 500

// accounts reads the accounts that sets are shared with. Everybody ("all") is none of them.
func (r *reader) accounts(attr *hcl.Attribute) []string {
	const want = "AWS accounts such as [\"123456789012\"]"
	words, ok := r.words(attr, nil, want)
	if !ok {
		return nil
	}
	var accounts []string
	for _, word := range words {
		switch {
		case !accountForm.MatchString(word):
			r.invalid(attr, "Expected %s, each of 12 digits; got %q.", want, word)
		case !slices.Contains(accounts, word):
			accounts = append(accounts, word)
		}
	}
	if len(accounts) > maxShares {
		r.invalid(attr, "Expected at most %d accounts; got %d.", maxShares, len(accounts))
	}
	slices.Sort(accounts)
	return accounts
}
