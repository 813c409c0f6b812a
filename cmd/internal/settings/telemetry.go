package settings

import (
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)

// Telemetry says where the trace of a run is sent to. The zero value: nowhere.
type Telemetry struct {
	OTLPEndpoint string        // URL of an OTLP/HTTP receiver
	Headers      http.Header   // of each request; may hold secrets
	Timeout      time.Duration // of one request
}

// decodeTelemetry reads the telemetry block. It is read before any snapshotter is, so env is all that its expressions know.
func decodeTelemetry(block *hcl.Block, environ []string) (Telemetry, hcl.Diagnostics) {
	r := envReader(environ)
	var t Telemetry
	diags := within(r.scope, false, func() hcl.Diagnostics {
		content, diags := block.Body.Content(telemetryShape.schema())
		r.diags = append(r.diags, diags...)
		attrs := content.Attributes
		t = Telemetry{OTLPEndpoint: otlpEndpointAttr.value(r, attrs), Headers: otlpHeadersAttr.value(r, attrs), Timeout: otlpTimeoutAttr.value(r, attrs)}
		return r.diags
	})
	return t, diags
}

// headers reads header names and values. A value may be a secret, so no mistake shows it.
func (r *reader) headers(attr *hcl.Attribute) http.Header {
	v, ok := r.value(attr)
	if !ok {
		return nil
	}
	texts, err := convert.Convert(v, cty.Map(cty.String))
	if err != nil || !texts.IsWhollyKnown() || texts.IsNull() {
		r.invalid(attr, "Expected a map of text such as { authorization = env.OTLP_TOKEN }.")
		return nil
	}
	headers := http.Header{}
	for name, value := range texts.AsValueMap() {
		if value.IsNull() || !headerName.MatchString(name) || strings.ContainsFunc(value.AsString(), unicode.IsControl) {
			r.invalid(attr, "The header %q cannot be sent: a name has letters, digits and dashes, and a value has no control characters.", name)
			continue
		}
		headers.Set(name, value.AsString())
	}
	return headers
}
