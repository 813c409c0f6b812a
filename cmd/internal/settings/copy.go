package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

var copyShape = &shape{label: "region", attrs: []argument{copyKeyAttr, copyMaxLagAttr}, blocks: map[string]*shape{"keep": keepShape}, once: []string{"keep"}}

// copies reads where the sets are copied to. A destination keeps what the snapshotter keeps, unless it has rules of its own.
func (r *reader) copies(content *hcl.BodyContent, spec *recipe.Spec) {
	for _, block := range content.Blocks.OfType("copy") {
		d := recipe.Destination{Region: block.Labels[0], Keep: spec.Keep}
		switch {
		case !awsRegion.MatchString(d.Region):
			hint := ""
			if near := Nearest(d.Region, regions); near != "" {
				hint = fmt.Sprintf(" Did you mean %q?", near)
			}
			r.mistake(block.LabelRanges[0], "Invalid region", "Expected a region such as \"eu-central-1\"; got %q.%s", d.Region, hint)
		case slices.ContainsFunc(spec.Copies, func(o recipe.Destination) bool { return o.Region == d.Region }):
			r.mistake(block.LabelRanges[0], "Duplicate copy block", "There is one for %s already; write everything into one.", d.Region)
		}
		inside, diags := block.Body.Content(copyShape.schema())
		r.diags = append(r.diags, diags...)
		d.KMSKeyID, _ = copyKeyAttr.given(r, inside.Attributes)
		if arn := strings.Split(d.KMSKeyID, ":"); len(arn) > 3 && arn[3] != d.Region {
			r.invalid(inside.Attributes["kms_key_id"], "Expected a key of %s: this one is of another region.", d.Region)
		}
		d.MaxLag = copyMaxLagAttr.value(r, inside.Attributes)
		for _, keep := range inside.Blocks.OfType("keep") {
			d.Keep = r.keepRules(keep)
		}
		spec.Copies = append(spec.Copies, d)
	}
}

// awsRegion is what the names of EC2's regions are like. regions are some of them, to guess what was meant: new ones are no mistake.
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
var (
	awsRegion = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)*-(central|north|south|east|west|northeast|northwest|southeast|southwest)-[0-9]+$`)
	regions   = strings.Fields("af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 " +
		"ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 " +
		"il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1 us-west-2")
)

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
