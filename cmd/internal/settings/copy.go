package settings

import (
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
