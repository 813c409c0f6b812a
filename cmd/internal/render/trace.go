package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/journal"
)

// Trace writes a run as one OpenTelemetry trace in OTLP's JSON encoding: a root span for the run, one for each time that a
// step was under way, one for each freeze, and client spans for the EC2 calls. Ids follow from the run's id, so that the trace
// of a run that was resumed replaces the one that was sent before.
// Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
func Trace(w io.Writer, r engine.Report) error {
	t := tracer{run: string(r.Run)}
	t.root(r)
	for _, s := range r.Steps {
		for i, span := range s.Spans {
			t.step(s, i, span)
		}
	}
	for i, win := range r.Windows {
		t.window(i, win)
	}
	for i, c := range r.Calls {
		t.call(i, c)
	}
	resource := otlpAttrs{}.text("service.name", "snaptastic").text("service.version", r.Version).text("cloud.provider", "aws").
		text("cloud.platform", "aws_ec2").text("host.id", r.InstanceID)
	if r.CloudConfig != nil {
		resource = resource.text("cloud.region", r.CloudConfig.Region)
	}
	scope := otlpScope{Spans: t.spans}
	scope.Scope.Name, scope.Scope.Version = "snaptastic", r.Version
	body := otlpTraces{ResourceSpans: []otlpResource{{ScopeSpans: []otlpScope{scope}}}}
	body.ResourceSpans[0].Resource.Attributes = resource
	return json.NewEncoder(w).Encode(body)
}

// What OTLP's JSON consists of. 64-bit numbers are texts there, and ids are hexadecimal.
type (
	otlpTraces struct {
		ResourceSpans []otlpResource `json:"resourceSpans"`
	}
	otlpResource struct {
		Resource struct {
			Attributes otlpAttrs `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []otlpScope `json:"scopeSpans"`
	}
	otlpScope struct {
		Scope struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpSpan struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		Parent     string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes otlpAttrs   `json:"attributes,omitempty"`
		Events     []otlpEvent `json:"events,omitempty"`
		Status     otlpStatus  `json:"status"`
	}
	otlpEvent struct {
		Time       string    `json:"timeUnixNano"`
		Name       string    `json:"name"`
		Attributes otlpAttrs `json:"attributes,omitempty"`
	}
	otlpStatus struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
	otlpAttrs []otlpAttr
	otlpAttr  struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	}
)

// Kinds of spans and codes of a status, as OTLP numbers them.
const (
	spanInternal, spanClient = 1, 3
	statusOK, statusError    = 1, 2
)

// text adds an attribute unless it is empty.
func (a otlpAttrs) text(key, value string) otlpAttrs {
	if value == "" {
		return a
	}
	return append(a, otlpAttr{key, map[string]any{"stringValue": Clean(value)}})
}

func (a otlpAttrs) number(key string, value float64) otlpAttrs {
	if value == 0 {
		return a
	}
	return append(a, otlpAttr{key, map[string]any{"doubleValue": value}})
}

func (a otlpAttrs) whole(key string, value int) otlpAttrs {
	return append(a, otlpAttr{key, map[string]any{"intValue": strconv.Itoa(value)}})
}

func (a otlpAttrs) truth(key string, value bool) otlpAttrs {
	if !value {
		return a
	}
	return append(a, otlpAttr{key, map[string]any{"boolValue": true}})
}

// tracer collects the spans of a run.
type tracer struct {
	run   string
	spans []otlpSpan
}

// id is a number of so many bytes that follows from the run and a name.
func (t *tracer) id(size int, name string) string {
	sum := sha256.Sum256([]byte(t.run + "\x00" + name))
	return hex.EncodeToString(sum[:size])
}

func (t *tracer) add(name, of string, kind int, from, to time.Time, attrs otlpAttrs, failure string) *otlpSpan {
	if to.Before(from) {
		to = from
	}
	s := otlpSpan{TraceID: t.id(16, "trace"), SpanID: t.id(8, of), Parent: t.id(8, "run"), Name: Clean(name), Kind: kind, Start: nano(from), End: nano(to), Attributes: attrs}
	if failure != "" {
		s.Status = otlpStatus{statusError, Clean(failure)}
	}
	t.spans = append(t.spans, s)
	return &t.spans[len(t.spans)-1]
}

func nano(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func (t *tracer) root(r engine.Report) {
	to := r.Ended
	if last := r.Parts[len(r.Parts)-1].To; last.After(to) {
		to = last
	}
	attrs := otlpAttrs{}.text("snaptastic.run", t.run).text("snaptastic.operation", r.Plan.Operation).text("snaptastic.snapshotter", r.Plan.Snapshotter).
		text("snaptastic.outcome", string(r.Outcome)).whole("snaptastic.processes", len(r.Parts))
	if r.Drill != nil {
		attrs = attrs.number("snaptastic.rto_seconds", r.Drill.RestoreSeconds).number("snaptastic.rpo_seconds", r.Drill.DataAgeSeconds)
	}
	s := t.add("snaptastic "+r.Plan.Operation, "run", spanInternal, r.Created, to, attrs, r.Error)
	s.Parent = ""
	if r.Outcome == journal.RunDone {
		s.Status.Code = statusOK
	}
}

func (t *tracer) step(s engine.StepTimes, number int, span engine.Span) {
	attrs := otlpAttrs{}.text("snaptastic.step", string(s.Step.ID)).text("snaptastic.lane", s.Step.Lane).whole("snaptastic.generation", span.Generation).
		text("snaptastic.state", string(span.State)).text("snaptastic.undo", string(span.Undone)).truth("snaptastic.adopted", span.Adopted)
	if f := s.Record.Facts; f != nil && !span.Undo {
		attrs = attrs.text("snaptastic.volume_id", f.VolumeID).text("snaptastic.snapshot_id", f.SnapshotID).text("snaptastic.device", f.Device).
			number("snaptastic.frozen_seconds", f.FrozenSeconds)
	}
	name := string(s.Step.Kind)
	if span.Undo {
		name = "undo " + name
	}
	out := t.add(name, fmt.Sprintf("step %s %d", s.Step.ID, number), spanInternal, span.From, span.To, attrs, span.Error)
	for _, r := range span.Retries {
		out.Events = append(out.Events, otlpEvent{nano(r.At), "retry", otlpAttrs{}.text("exception.message", r.Error).number("snaptastic.wait_seconds", r.WaitSeconds)})
	}
}

func (t *tracer) window(number int, w engine.Window) {
	if w.FrozenFrom.IsZero() {
		return
	}
	t.add("frozen", fmt.Sprintf("window %d", number), spanInternal, w.FrozenFrom, w.FrozenTo,
		otlpAttrs{}.text("snaptastic.section", w.Section).number("snaptastic.frozen_seconds", w.FrozenSeconds).whole("snaptastic.lanes", len(w.Lanes)), w.Error)
}

// call follows the conventions for AWS SDK clients. Source: https://opentelemetry.io/docs/specs/semconv/cloud-providers/aws-sdk/
func (t *tracer) call(number int, c journal.Call) {
	attrs := otlpAttrs{}.text("rpc.system", "aws-api").text("rpc.service", "EC2").text("rpc.method", c.Action).text("error.type", c.Code).truth("snaptastic.throttled", c.Throttled)
	t.add("EC2."+c.Action, fmt.Sprintf("call %d", number), spanClient, c.At, c.At.Add(time.Duration(c.Seconds*float64(time.Second))), attrs, c.Code)
}
