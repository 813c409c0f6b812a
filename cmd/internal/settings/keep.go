package settings

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// A keepCount is an argument of keep that is a count, and where its value goes.
type keepCount struct {
	attribute[int]
	target func(*snapset.Keep) *int
}

const maxKeep = 1_000_000

func keeps(name, meaning string, target func(*snapset.Keep) *int) keepCount {
	return keepCount{custom(name, "number or `\"unlimited\"`", "`0`", (*reader).keepCount, meaning), target}
}

// The arguments of keep.
var (
	keepCounts = []keepCount{
		keeps("last", "the newest sets", func(k *snapset.Keep) *int { return &k.Last }),
		keeps("hourly", "the newest set of each hour that has one, for so many hours", func(k *snapset.Keep) *int { return &k.Hourly }),
		keeps("daily", "the same of each day", func(k *snapset.Keep) *int { return &k.Daily }),
		keeps("weekly", "the same of each ISO week, which begins on Monday", func(k *snapset.Keep) *int { return &k.Weekly }),
		keeps("monthly", "the same of each month", func(k *snapset.Keep) *int { return &k.Monthly }),
		keeps("yearly", "the same of each year", func(k *snapset.Keep) *int { return &k.Yearly }),
	}
	withinAttr = attribute[snapset.Span]{doc: row{"within", "restic duration", "none",
		"all sets whose data is at most so much older than the newest set: years, months, days and hours, such as `\"2y5m7d3h\"` (`m` is a month)"}, read: (*reader).keepSpan}
	timezoneAttr = plain("timezone", "text", "UTC", "whose calendar counts, such as `\"Europe/Berlin\"`: an IANA name that the time zone database of this machine has")
)

func keepAttrs() (all []argument) {
	for _, c := range keepCounts {
		all = append(all, c)
	}
	return append(all, withinAttr, timezoneAttr)
}

// keepCount reads a count of sets; 0 keeps none.
func (r *reader) keepCount(attr *hcl.Attribute) int {
	value, ok := r.value(attr)
	if !ok {
		return 0
	}
	if value.Type() == cty.String && value.AsString() == "unlimited" {
		return snapset.Unlimited
	}
	const want = `a whole number from 0 to 1000000, or "unlimited"`
	n, ok := r.integer(attr, want)
	if ok && (n < snapset.Unlimited || n > maxKeep) {
		r.invalid(attr, "Expected %s; got %d.", want, n)
		return 0
	}
	return int(n)
}

func (r *reader) keepSpan(attr *hcl.Attribute) (snapset.Span, bool) {
	text, ok := r.text(attr, `a duration such as "14d" or "2y5m7d3h"`)
	if !ok {
		return snapset.Span{}, false
	}
	span, err := snapset.ParseSpan(text)
	if err != nil {
		r.invalid(attr, "Expected a duration such as \"14d\" or \"2y5m7d3h\"; got %q: %v.", text, err)
	}
	return span, err == nil
}

// keep reads the rules of what a snapshotter keeps.
func (r *reader) keep(blocks hcl.Blocks, expire *hcl.Attribute, spec *recipe.Spec) {
	for _, block := range blocks {
		spec.Keep = r.keepRules(block)
		if expire != nil {
			r.caution(expire.NameRange, "expire_after has no effect", "The rules of keep decide what is deleted: snapshots get no expires tag. Remove expire_after.")
		}
	}
}

// keepRules reads one keep block.
func (r *reader) keepRules(block *hcl.Block) *snapset.Keep {
	content, diags := block.Body.Content(keepShape.schema())
	r.diags = append(r.diags, diags...)
	before, k := r.noted(), snapset.Keep{}
	for _, c := range keepCounts {
		*c.target(&k) = c.value(r, content.Attributes)
	}
	k.Within = withinAttr.value(r, content.Attributes)
	if attr := timezoneAttr.in(content.Attributes); attr != nil {
		k.Timezone, _ = r.text(attr, `an IANA name of a time zone, such as "Europe/Berlin"`)
		_, known := snapset.Keep{Timezone: "Europe/London"}.Location()
		if _, err := k.Location(); err != nil && known == nil {
			r.invalid(attr, "%v.", err)
		} else if err != nil { // no reason not to mount
			r.caution(attr.Expr.Range(), "No time zones", "%v. Until then nothing is cleaned up.", err)
		}
	}
	if r.noted() == before && k.IsZero() {
		r.mistake(block.DefRange, "Nothing to keep", "At least one of %s must be set to more than 0: without any rule all sets but the newest would be deleted.",
			list(keepShape.names()[:len(keepCounts)+1], "and"))
	}
	return &k
}

// Keepers are the snapshotters that have rules of what to keep, of the sets or of their copies, in the order of the files.
func (f *File) Keepers() (names []string) {
	for _, block := range f.snapshotters {
		if body, native := block.Body.(*hclsyntax.Body); native && hasKeep(body.Blocks) {
			names = append(names, block.Labels[0])
		}
	}
	return names
}

func hasKeep(blocks hclsyntax.Blocks) bool {
	return slices.ContainsFunc(blocks, func(b *hclsyntax.Block) bool { return b.Type == "keep" || b.Type == "copy" && hasKeep(b.Body.Blocks) })
}
