// Command otlp reads traces as JSON from stdin with the collector's own reader, and prints how many spans it found.
package main

import (
	"fmt"
	"io"
	"os"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err == nil {
		var traces ptrace.Traces
		if traces, err = new(ptrace.JSONUnmarshaler).UnmarshalTraces(body); err == nil {
			spans := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
			for i := range spans.Len() {
				s := spans.At(i)
				if s.TraceID().IsEmpty() || s.SpanID().IsEmpty() || s.StartTimestamp() == 0 || s.EndTimestamp() < s.StartTimestamp() {
					err = fmt.Errorf("span %d (%s): no ids or no times", i, s.Name())
				}
			}
			fmt.Println(traces.SpanCount())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
