package settings

import (
	"net/url"
	"regexp"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// maxPatience bounds for how long an unattended command asks on.
const maxPatience = 24 * time.Hour

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// decodeAWS reads the aws block. It is needed to learn everything else, so
// env is all that its expressions know.
func decodeAWS(block *hcl.Block, environ []string) (AWS, hcl.Diagnostics) {
	r := &reader{scope: &hcl.EvalContext{
		Variables: map[string]cty.Value{"env": environValue(environ)},
		Functions: functions,
	}}
	var aws AWS
	diags := within(r.scope, func() hcl.Diagnostics { aws = r.aws(block); return r.diags })
	return aws, diags
}

func (r *reader) aws(block *hcl.Block) AWS {
	content, diags := block.Body.Content(awsShape.schema())
	r.diags = append(r.diags, diags...)
	var aws AWS
	const wantRegion = "a region such as \"eu-west-1\""
	if attr := content.Attributes["region"]; attr != nil {
		text, ok := r.text(attr, wantRegion)
		if ok && !regionName.MatchString(text) {
			r.invalid(attr, "Expected %s; got %q.", wantRegion, text)
		}
		aws.Region = text
	}
	const wantURL = "a URL such as \"https://ec2.eu-west-1.amazonaws.com\""
	if attr := content.Attributes["endpoint_url"]; attr != nil {
		text, ok := r.text(attr, wantURL)
		parsed, err := url.Parse(text)
		if ok && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
			r.invalid(attr, "Expected %s; got %q.", wantURL, text)
		}
		aws.EndpointURL = text
	}
	const wantProfile = "the name of a profile in ~/.aws/config"
	if attr := content.Attributes["profile"]; attr != nil {
		text, ok := r.text(attr, wantProfile)
		if ok && text == "" {
			r.invalid(attr, "Expected %s; got an empty string.", wantProfile)
		}
		aws.Profile = text
	}
	if attr := content.Attributes["patience"]; attr != nil {
		if span, ok := r.span(attr, 0, maxPatience); ok {
			aws.Patience = &span
		}
	}
	return aws
}
