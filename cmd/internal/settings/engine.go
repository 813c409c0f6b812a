package settings

import (
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

// An engine is the settings of how Snaptastic works, which may stand at the
// top level and in a snapshotter; the latter wins, time-out by time-out.
type engine struct {
	attrs    hcl.Attributes // max_hold, freeze_expedite
	timeouts hcl.Blocks
}

const (
	minHold    = time.Second
	maxHold    = time.Minute
	minTimeout = time.Second
	maxTimeout = 7 * 24 * time.Hour
)

var timeoutNames = []string{"snapshot", "volume", "attach", "device", "detach", "complete", "mkfs", "mount"}

func engineOf(content *hcl.BodyContent) engine {
	e := engine{attrs: hcl.Attributes{}, timeouts: content.Blocks.OfType("timeouts")}
	for _, name := range []string{"max_hold", "freeze_expedite"} {
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
	if span, ok := r.span(e.attrs["max_hold"], minHold, maxHold); ok {
		spec.MaxHold = span
	}
	if truth, ok := r.boolean(e.attrs["freeze_expedite"]); ok {
		spec.Expedite = truth
	}
	targets := map[string]*time.Duration{
		"snapshot": &spec.Timeouts.Snapshot, "volume": &spec.Timeouts.Volume, "attach": &spec.Timeouts.Attach,
		"device": &spec.Timeouts.Device, "detach": &spec.Timeouts.Detach, "complete": &spec.Timeouts.Complete,
		"mkfs": &spec.Timeouts.Mkfs, "mount": &spec.Timeouts.Mount,
	}
	for _, block := range e.timeouts {
		content, diags := block.Body.Content(timeoutsShape.schema())
		r.diags = append(r.diags, diags...)
		for _, name := range slices.Sorted(maps.Keys(content.Attributes)) {
			if span, ok := r.span(content.Attributes[name], minTimeout, maxTimeout); ok {
				*targets[name] = span
			}
		}
	}
}
