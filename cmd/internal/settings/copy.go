package settings

import (
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

var copyShape = &shape{label: "region", attrs: []argument{copyKeyAttr, copyMaxLagAttr}, blocks: map[string]*shape{"keep": keepShape}, once: []string{"keep"}}

var (
	accountID    = regexp.MustCompile(`^[0-9]{12}$`)
	absolutePath = regexp.MustCompile(`^/`)
)

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
	spec.ShareWith = shareWithAttr.value(r, content.Attributes)
	spec.CopyFrom, _ = copyFromAttr.given(r, content.Attributes)
}

// accounts reads a list of account ids, in order and without repetition.
func (r *reader) accounts(attr *hcl.Attribute) []string {
	if attr == nil {
		return nil
	}
	const want = `a list of account ids, such as ["123456789012"]`
	ids, ok := r.words(attr, nil, want)
	if !ok {
		return nil
	}
	for _, id := range ids {
		if !accountID.MatchString(id) {
			r.invalid(attr, "Expected %s: 12 digits, in quotes; got %q.", want, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
