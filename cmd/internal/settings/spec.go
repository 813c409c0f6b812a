package settings

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"snaptastic/ec2/ebs"
	"snaptastic/steps/recipe"
)

const (
	maxDescription = ebs.MaxDescription
	maxTagKey      = ebs.MaxTagKey
	maxTagValue    = ebs.MaxTagValue
	maxFilterTags  = 35 // EC2 takes 50 on a resource; the rest is for Snaptastic's own and the operator's
)

// ownTags are those that Snaptastic itself writes on volumes and snapshots.
var ownTags = []string{"mount_point", "instance_id", "created", "expires"}

// defaultTags are the userdata keys that identify a snapshotter's snapshots
// when filter_tags does not: those of the original Snaptastic.
var defaultTags = []string{"role", "cluster", "environment"}

// Spec evaluates one snapshotter. The error is an *UnknownSnapshotter, an
// *Error for what is wrong in the file or in the userdata, or what the
// functions of ctx returned.
func (f *File) Spec(name string, ctx Context) (recipe.Spec, error) {
	block, err := f.find(name)
	if err != nil {
		return recipe.Spec{}, err
	}
	spec, diags, _, err := f.evaluate(block, ctx)
	if err == nil {
		err = f.fail(diags)
	}
	if err != nil {
		return recipe.Spec{}, err
	}
	if ctx.Warn != nil && len(diags) > 0 {
		ctx.Warn(f.report(diags))
	}
	return spec, nil
}

// evaluate reads one snapshotter. unknowns counts the values that were passed over because they are not known. An error is
// the caller's own functions'.
func (f *File) evaluate(block *hcl.Block, ctx Context) (spec recipe.Spec, diags hcl.Diagnostics, unknowns int, err error) {
	used := map[string]hcl.Range{}
	f.engine.mentioned(used)
	mentionedIn(block.Body, used)
	if _, seen := used["userdata"]; !seen && !sets(block.Body, "filter_tags") {
		used["userdata"] = block.DefRange
	}
	scope, data, diags, err := ctx.scope(used)
	if err != nil || diags.HasErrors() {
		return spec, diags, 0, err
	}
	spec.Name = block.Labels[0]
	r := &reader{scope: scope, leadsTo: ctx.LeadsTo, lenient: ctx.Lenient}
	diags = within(scope, ctx.Lenient, func() hcl.Diagnostics {
		f.engine.read(r, &spec)
		content, diags := dynblock.Expand(block.Body, scope).Content(snapshotterShape.schema())
		r.diags = append(r.diags, diags...)
		r.snapshotter(block, content, data, &spec)
		return r.diags
	})
	return spec, diags, r.unknowns, nil
}

// snapshotter reads what a snapshotter's block says.
func (r *reader) snapshotter(block *hcl.Block, content *hcl.BodyContent, data userdata, spec *recipe.Spec) {
	attrs := content.Attributes
	engineOf(content).read(r, spec)
	if attr := filterTagsAttr.in(attrs); attr != nil {
		spec.FilterTags = r.filterTags(attr)
	} else {
		spec.FilterTags = r.userdataTags(block.DefRange, data)
	}
	spec.ExpireAfter = expireAfterAttr.value(r, attrs)
	spec.CleanAfter = cleanAfterAttr.value(r, attrs)
	r.keep(content.Blocks.OfType("keep"), expireAfterAttr.in(attrs), spec)
	r.lock(content.Blocks.OfType("lock"), expireAfterAttr.in(attrs), spec)
	spec.Consistency = consistencyAttr.value(r, attrs)
	spec.OnMissing = onMissingAttr.value(r, attrs)
	spec.OnlyVerified = restoreAttr.value(r, attrs) == "verified"
	offlineAttr.value(r, attrs) // read by Offline, when there is no instance to ask
	r.volumes(block, content.Blocks.OfType("volume"), spec)
	for i, before := 0, len(r.diags); i < len(spec.Volumes) && len(r.diags) == before; i++ {
		spec.Volumes[i].Description = r.description(descriptionAttr.in(attrs), data, spec.Name, spec.Volumes[i])
	}
	r.hooks(content.Blocks.OfType("hook"), spec)
	r.verify(content.Blocks.OfType("verify"), spec)
	r.copies(content, spec)
	spec.ShareWith = shareWithAttr.value(r, attrs)
	spec.CopyFrom, _ = copyFromAttr.given(r, attrs)
}

// filterTags reads the map of tags that identify a snapshotter's snapshots.
func (r *reader) filterTags(attr *hcl.Attribute) map[string]string {
	const want = "a map of tags, such as { role = userdata.role }"
	before := r.noted()
	value, ok := r.value(attr)
	if !ok {
		if r.noted() == before {
			r.invalid(attr, "Expected %s; got null.", want)
		}
		return nil
	}
	if ty := value.Type(); !ty.IsObjectType() && !ty.IsMapType() {
		r.invalid(attr, "Expected %s; got %s.", want, describe(value))
		return nil
	}
	tags := map[string]string{}
	elements := value.AsValueMap()
	for _, key := range sortedKeys(elements) {
		text, err := convert.Convert(elements[key], cty.String)
		switch {
		case err != nil || text.IsNull():
			r.invalid(attr, "The tag %q must be a string; got %s.", key, describe(elements[key]))
		case tagProblem(key, text.AsString()) != "":
			r.invalid(attr, "%s", tagProblem(key, text.AsString()))
		default:
			tags[key] = text.AsString()
		}
	}
	switch {
	case len(elements) == 0:
		r.invalid(attr, "Expected at least one tag: with none, any snapshot of the account with the same mount point would be restored.")
	case len(elements) > maxFilterTags:
		r.invalid(attr, "Expected at most %d tags; got %d.", maxFilterTags, len(elements))
	}
	return tags
}

// userdataTags takes role, cluster and environment from the userdata.
func (r *reader) userdataTags(at hcl.Range, data userdata) map[string]string {
	tags := map[string]string{}
	if data.value == cty.NilVal {
		return tags
	}
	have := data.value.AsValueMap()
	var missing []string
	for _, key := range defaultTags {
		value, ok := have[key]
		if !ok || value.IsNull() {
			missing = append(missing, key)
			continue
		}
		text, err := convert.Convert(value, cty.String)
		if err != nil {
			r.mistake(at, "Invalid userdata", "userdata.%s is to be a filter tag, and it is %s. Expected a string, or a filter_tags setting.", key, kindOf(value))
			continue
		}
		if problem := tagProblem(key, text.AsString()); problem != "" {
			r.mistake(at, "Invalid userdata", "userdata.%s is to be a filter tag. %s", key, problem)
			continue
		}
		tags[key] = text.AsString()
	}
	if len(missing) > 0 {
		keys, _ := keysOf(data.value)
		r.mistake(at, "Missing userdata", "Without filter_tags, the tags %s are taken from %s, which has no %s; it has %s. "+
			"Add it there, or set filter_tags.", list(defaultTags, "and"), data.name, list(quoted(missing), "and no"), list(quoted(keys), "and"))
	}
	return tags
}

// tagProblem says why EC2, or Snaptastic, does not take a tag; "" if it does.
func tagProblem(key, value string) string {
	switch {
	case key == "":
		return "A tag's key must not be empty."
	case utf8.RuneCountInString(key) > maxTagKey:
		return fmt.Sprintf("A tag's key has at most %d characters; %q… has %d.", maxTagKey, firstRunes(key, 20), utf8.RuneCountInString(key))
	case utf8.RuneCountInString(value) > maxTagValue:
		return fmt.Sprintf("A tag's value has at most %d characters; that of %q has %d.", maxTagValue, key, utf8.RuneCountInString(value))
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return fmt.Sprintf("The tag %q begins with aws:, which is reserved for AWS.", key)
	case strings.HasPrefix(strings.ToLower(value), "aws:"):
		return fmt.Sprintf("The value of the tag %q begins with aws:, which is reserved for AWS.", key)
	case strings.HasPrefix(key, "snaptastic:"):
		return fmt.Sprintf("The tag %q begins with snaptastic:, which is reserved for Snaptastic's own.", key)
	case slices.Contains(ownTags, key):
		return fmt.Sprintf("The tag %q is written by Snaptastic itself, as are %s.", key, list(ownTags, "and"))
	case strings.ContainsFunc(key, isControl) || strings.ContainsFunc(value, isControl) || !utf8.ValidString(key+value):
		return fmt.Sprintf("The tag %q holds a control character.", key)
	}
	return ""
}

// description evaluates the description of one volume's snapshots.
func (r *reader) description(attr *hcl.Attribute, data userdata, name string, v recipe.Volume) string {
	scope := r.scope
	defer func() { r.scope = scope }()
	r.scope = scope.NewChild()
	r.scope.Variables = map[string]cty.Value{"volume": volumeValue(v)}
	text, ok := r.text(attr, "the text that describes a snapshot")
	switch length := utf8.RuneCountInString(text); {
	case !ok || text == "":
		return defaultDescription(data, name, v)
	case length > maxDescription:
		r.invalid(attr, "A snapshot's description has at most %d characters; that of the volume at %s has %d.", maxDescription, v.MountPoint, length)
	}
	return text
}

// defaultDescription is the original's: `CLUSTER snapshot of MOUNT_POINT`,
// with the snapshotter's name where the userdata has no cluster.
func defaultDescription(data userdata, name string, v recipe.Volume) string {
	if data.value != cty.NilVal && data.value.Type().HasAttribute("cluster") {
		cluster := data.value.GetAttr("cluster")
		if cluster.Type() == cty.String && !cluster.IsNull() && cluster.AsString() != "" && !strings.ContainsFunc(cluster.AsString(), isControl) {
			name = cluster.AsString()
		}
	}
	return firstRunes(name+" snapshot of "+v.MountPoint, maxDescription)
}

func firstRunes(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

func volumeValue(v recipe.Volume) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"device":      cty.StringVal(v.Device),
		"mount_point": cty.StringVal(v.MountPoint),
		"size":        cty.NumberIntVal(int64(v.Size)),
		"file_system": cty.StringVal(v.FileSystem),
		"volume_type": cty.StringVal(v.VolumeType),
	})
}
