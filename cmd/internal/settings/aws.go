package settings

import (
	"net/url"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

var nonEmpty = regexp.MustCompile(`.`)

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// decodeAWS reads the aws block. It is needed to learn everything else, so
// env is all that its expressions know.
func decodeAWS(block *hcl.Block, environ []string) (AWS, hcl.Diagnostics) {
	r := envReader(environ)
	var aws AWS
	diags := within(r.scope, false, func() hcl.Diagnostics { aws = r.aws(block); return r.diags })
	return aws, diags
}

// envReader reads expressions that know env alone.
func envReader(environ []string) *reader {
	return &reader{scope: &hcl.EvalContext{Variables: map[string]cty.Value{"env": environValue(environ)}, Functions: functions}}
}

func (r *reader) aws(block *hcl.Block) AWS {
	content, diags := block.Body.Content(awsShape.schema())
	r.diags = append(r.diags, diags...)
	attrs := content.Attributes
	aws := AWS{Region: regionAttr.value(r, attrs), EndpointURL: endpointURLAttr.value(r, attrs), Profile: profileAttr.value(r, attrs)}
	if span, ok := patienceAttr.given(r, attrs); ok {
		aws.Patience = &span
	}
	return aws
}

func (r *reader) url(attr *hcl.Attribute) string {
	want := "a URL such as \"https://ec2.eu-west-1.amazonaws.com\""
	if attr != nil && attr.Name == "otlp_endpoint" {
		want = "a URL such as \"http://localhost:4318\""
	}
	text, ok := r.text(attr, want)
	parsed, err := url.Parse(text)
	if ok && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
		r.invalid(attr, "Expected %s; got %q.", want, text)
	}
	return text
}
