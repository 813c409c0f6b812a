package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// receiver is an OTLP/HTTP receiver; settings that send to it go into the rig.
func receiver(t *testing.T, r *rig, answer http.HandlerFunc) {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	text, err := os.ReadFile(r.settings)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "telemetry {\n  otlp_endpoint = \""+server.URL+"\"\n  headers = { authorization = env.OTLP_TOKEN }\n  timeout = env.OTLP_TIMEOUT\n}\n"...)
	if err := os.WriteFile(r.settings, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r.env = append(r.env, "OTLP_TOKEN=secret word", "OTLP_TIMEOUT=30s")
}

// The trace of a run arrives once it has ended, in OTLP's encoding: each step is a span, and so is each call to EC2.
func TestTheTraceOfARunIsSent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	got := make(chan []byte, 4)
	refused := false
	receiver(t, r, func(w http.ResponseWriter, q *http.Request) {
		if !refused { // busy: it is sent again
			refused = true
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(q.Body)
		if q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/json" || q.Header.Get("Authorization") != "secret word" {
			t.Errorf("%s %s, %v", q.Method, q.URL, q.Header)
		}
		got <- body
	})
	r.must("run", "mount", "db")
	var body []byte
	select {
	case body = <-got:
	case <-time.After(time.Minute):
		t.Fatal("no trace arrived")
	}
	if printed := r.must("--log-level", "off", "trace", "last"); printed != string(body) {
		t.Errorf("`trace` prints something else than was sent:\n%s\n%s", printed, body)
	}
	spans := spansOf(t, body)
	names, ids := map[string]int{}, map[string]bool{}
	root := ""
	for _, s := range spans {
		names[s.Name]++
		if ids[s.SpanID] {
			t.Errorf("span id %s twice", s.SpanID)
		}
		ids[s.SpanID] = true
		if s.ParentSpanID == "" {
			root = s.SpanID
		}
		if s.TraceID != spans[0].TraceID || s.EndTimeUnixNano < s.StartTimeUnixNano { // of equal length
			t.Errorf("%+v", s)
		}
	}
	for _, s := range spans {
		if s.SpanID != root && s.ParentSpanID != root {
			t.Errorf("%s has the parent %s, want %s", s.Name, s.ParentSpanID, root)
		}
	}
	for name, want := range map[string]int{"snaptastic mount": 1, "mount": 2, "create-volume": 2, "find-snapshot": 1, "EC2.CreateVolume": 2, "EC2.AttachVolume": 2} {
		if names[name] != want {
			t.Errorf("%d spans %q, want %d; all: %v", names[name], name, want, names)
		}
	}
	t.Run("read by the collector", func(t *testing.T) { readByTheCollector(t, body) })
}

type otlpTestSpan struct {
	TraceID, SpanID, ParentSpanID, Name, StartTimeUnixNano, EndTimeUnixNano string
}

func spansOf(t *testing.T, body []byte) []otlpTestSpan {
	t.Helper()
	var all struct {
		ResourceSpans []struct {
			ScopeSpans []struct{ Spans []otlpTestSpan }
		}
	}
	if err := json.Unmarshal(body, &all); err != nil || len(all.ResourceSpans) != 1 || len(all.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	return all.ResourceSpans[0].ScopeSpans[0].Spans
}

// readByTheCollector has the OpenTelemetry collector's own reader read it. It is a module of its own in testdata.
func readByTheCollector(t *testing.T, body []byte) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/otlp", ".")
	build.Dir = "testdata/otlp"
	if out, err := build.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "dial tcp") || strings.Contains(string(out), "lookup ") {
			t.Skipf("the collector's module cannot be downloaded: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	read := exec.Command(dir + "/otlp")
	read.Stdin = bytes.NewReader(body)
	if out, err := read.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) == "0" {
		t.Errorf("the collector cannot read it: %v: %s", err, out)
	}
}

// A receiver that hangs delays nobody: the command is over while the receiver still has the request, which nobody has given up.
func TestAReceiverThatHangsDelaysNoRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	asked, over := make(chan struct{}, 8), make(chan struct{})
	var gaveUp atomic.Int32
	receiver(t, r, func(_ http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // from here on the end of the connection is noticed
		asked <- struct{}{}
		select {
		case <-over:
		case <-q.Context().Done():
			gaveUp.Add(1)
		}
	})
	defer close(over)
	r.must("run", "mount", "db") // comes back although nobody is answered
	if n := gaveUp.Load(); n > 0 {
		t.Errorf("the run waited until %d requests had timed out", n)
	}
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Error("the receiver was not asked")
	}
	r.must("run", "snapshot", "db")
	r.env = append(r.env, "OTLP_TIMEOUT=1s")
	r.wants(exitFailed, "no answer within 1s", "trace", "last", "--send")
}

func TestATraceNeedsAReceiver(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	r.wants(2, "otlp_endpoint", "trace", "last", "--send")
}
