package settings

import (
	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

// An engine is the settings of how Snaptastic works, which may stand at the
// top level and in a snapshotter; the latter wins, time-out by time-out.
type engine struct {
	attrs    hcl.Attributes // max_hold, freeze_expedite
	timeouts hcl.Blocks
}

func engineOf(content *hcl.BodyContent) engine {
	e := engine{attrs: hcl.Attributes{}, timeouts: content.Blocks.OfType("timeouts")}
	for _, name := range fileShape.names() {
		if attr := content.Attributes[name]; attr != nil {
			e.attrs[name] = attr
		}
	}
	return e
}

// mentioned adds the variables that the engine's settings use.
func (e engine) mentioned(used map[string]hcl.Range) {
	for _, attr := range e.attrs {
		mentionedBy(attr.Expr, used)
	}
	for _, block := range e.timeouts {
		mentionedIn(block.Body, used)
	}
}

func (e engine) read(r *reader, spec *recipe.Spec) {
	if span, ok := maxHoldAttr.given(r, e.attrs); ok {
		spec.MaxHold = span
	}
	if truth, ok := freezeExpediteAttr.given(r, e.attrs); ok {
		spec.Expedite = truth
	}
	for _, block := range e.timeouts {
		content, diags := block.Body.Content(timeoutsShape.schema())
		r.diags = append(r.diags, diags...)
		for _, t := range timeouts {
			if span, ok := t.given(r, content.Attributes); ok {
				*t.target(&spec.Timeouts) = span
			}
		}
	}
}

func timeoutAttrs() (all []argument) {
	for _, t := range timeouts {
		all = append(all, t)
	}
	return all
}
