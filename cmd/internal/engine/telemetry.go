package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"snaptastic/cmd/internal/settings"
	"snaptastic/plan"
	"snaptastic/plan/units"
)

// Telemetry says where traces go by the settings; false where they say nothing, or where there are none.
func (e *Engine) Telemetry() (settings.Telemetry, bool) {
	e.settingsIfAny()
	if e.file == nil {
		return settings.Telemetry{}, false
	}
	t := e.file.Telemetry()
	return t, t.OTLPEndpoint != ""
}

// traceTries is how often a trace is sent to a receiver that is busy or out of reach.
const traceTries = 3

// SendTrace sends a trace in OTLP's JSON encoding to the receiver that the settings name. It tries again where the protocol
// says so. Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
func (e *Engine) SendTrace(ctx context.Context, body []byte) error {
	t, known := e.Telemetry()
	if !known {
		return &Error{Code: Usage, Err: plan.WithHint(`add telemetry { otlp_endpoint = "http://localhost:4318" } to the settings`, fmt.Errorf("cannot send the trace: the settings name no receiver"))}
	}
	to, err := url.Parse(t.OTLPEndpoint)
	if err != nil {
		return fmt.Errorf("internal error: %w", err) // the settings were checked
	}
	if to.Path == "" || to.Path == "/" {
		to.Path = "/v1/traces"
	}
	client := &http.Client{Timeout: t.Timeout}
	for try := 1; ; try++ {
		again, err := postTrace(ctx, client, to.String(), t.Headers, body)
		if err == nil {
			return nil
		}
		if !again || try == traceTries {
			return hinted("check telemetry in the settings and the receiver; nothing else depends on it", "cannot send the trace to %s: %w", to.Redacted(), err)
		}
		select {
		case <-time.After(time.Duration(try) * time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// postTrace sends it once, and says whether another try may help.
func postTrace(ctx context.Context, client *http.Client, to string, headers http.Header, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	for name, values := range headers {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		if u, ok := err.(*url.Error); ok { // it shows the address, with a password that may be in it
			err = u.Err
			if u.Timeout() {
				err = fmt.Errorf("no answer within %s", units.Limit(client.Timeout))
			}
		}
		return ctx.Err() == nil, err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	switch code := response.StatusCode; {
	case code < 300:
		return false, nil
	default:
		busy := code == http.StatusTooManyRequests || code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
		return busy, fmt.Errorf("%s: %s", response.Status, oneLine(string(text)))
	}
}
