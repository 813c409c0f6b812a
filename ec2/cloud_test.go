package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// request is one call that reached the cloud.
type request struct {
	Action string
	Form   url.Values
	At     time.Time
}

// filter returns the values of the named filter.
func (r request) filter(name string) []string {
	for i := 1; r.Form.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		if r.Form.Get(fmt.Sprintf("Filter.%d.Name", i)) != name {
			continue
		}
		var values []string
		for j := 1; r.Form.Has(fmt.Sprintf("Filter.%d.Value.%d", i, j)); j++ {
			values = append(values, r.Form.Get(fmt.Sprintf("Filter.%d.Value.%d", i, j)))
		}
		return values
	}
	return nil
}

// answer is what the cloud says to one request.
type answer struct {
	status  int // 0: 200
	body    string
	err     error         // instead of an answer
	latency time.Duration // before either
	header  http.Header
}

// fakeEC2 is EC2 in memory: a RoundTripper, so that time can be simulated.
type fakeEC2 struct {
	answer func(request) answer

	mu       sync.Mutex
	requests []request
}

func (c *fakeEC2) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil { // the metadata service is asked without one
		body, _ = io.ReadAll(r.Body)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	in := request{Action: form.Get("Action"), Form: form, At: time.Now()}
	c.mu.Lock()
	c.requests = append(c.requests, in)
	c.mu.Unlock()
	out := c.answer(in)
	if out.latency > 0 {
		select {
		case <-time.After(out.latency):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if out.err != nil {
		return nil, out.err
	}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	if out.header == nil {
		out.header = http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}
	}
	return &http.Response{
		StatusCode: out.status, Header: out.header, Request: r, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(strings.NewReader(out.body)), ContentLength: int64(len(out.body)),
	}, nil
}

// seen returns the requests for the action, or all of them for an empty one.
func (c *fakeEC2) seen(action string) []request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var some []request
	for _, r := range c.requests {
		if action == "" || r.Action == action {
			some = append(some, r)
		}
	}
	return some
}

// client returns a client of the cloud; adjust may change its configuration.
func (c *fakeEC2) client(t testing.TB, adjust ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Region: "eu-west-1", EndpointURL: "http://ec2.test", Transport: c,
		Credentials: Credentials{ID: "AKIATEST", Secret: "secret"},
	}
	for _, change := range adjust {
		change(&cfg)
	}
	client, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// always gives every request the same answer.
func always(a answer) *fakeEC2 { return &fakeEC2{answer: func(request) answer { return a }} }

// inSequence gives the n-th request the n-th answer, and the last one to all that follow.
func inSequence(answers ...answer) *fakeEC2 {
	var mu sync.Mutex
	next := 0
	return &fakeEC2{answer: func(request) answer {
		mu.Lock()
		defer mu.Unlock()
		a := answers[next]
		next = min(next+1, len(answers)-1)
		return a
	}}
}

func errorAnswer(status int, code, message string) answer {
	return answer{status: status, body: fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>req-1</RequestID></Response>`, code, message)}
}

var (
	throttled = errorAnswer(503, "RequestLimitExceeded", "Request limit exceeded.")
	reset     = answer{err: &connectionReset{}}
)

// connectionReset is a connection that broke after the request was sent.
type connectionReset struct{}

func (*connectionReset) Error() string {
	return "read tcp 10.0.0.1:50000->10.0.0.2:443: connection reset by peer"
}

const xmlns = `xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"`

func volumesAnswer(next string, volumes ...Volume) answer {
	var body strings.Builder
	fmt.Fprintf(&body, `<DescribeVolumesResponse %s><requestId>req-1</requestId><volumeSet>`, xmlns)
	for _, v := range volumes {
		fmt.Fprintf(&body, `<item><volumeId>%s</volumeId><status>%s</status><size>%d</size><availabilityZone>eu-west-1a</availabilityZone>`, v.ID, v.State, v.Size)
		body.WriteString(`<attachmentSet>`)
		for _, a := range v.Attachments {
			fmt.Fprintf(&body, `<item><volumeId>%s</volumeId><instanceId>%s</instanceId><device>%s</device><status>%s</status></item>`, v.ID, a.InstanceID, a.Device, a.State)
		}
		body.WriteString(`</attachmentSet><tagSet>`)
		for key, value := range v.Tags {
			fmt.Fprintf(&body, `<item><key>%s</key><value>%s</value></item>`, key, value)
		}
		body.WriteString(`</tagSet></item>`)
	}
	fmt.Fprintf(&body, `</volumeSet><nextToken>%s</nextToken></DescribeVolumesResponse>`, next)
	return answer{body: body.String()}
}

func snapshotsAnswer(next string, snapshots ...Snapshot) answer {
	var body strings.Builder
	fmt.Fprintf(&body, `<DescribeSnapshotsResponse %s><snapshotSet>`, xmlns)
	for _, s := range snapshots {
		fmt.Fprintf(&body, `<item><snapshotId>%s</snapshotId><status>%s</status><statusMessage>%s</statusMessage><progress>%d%%</progress><startTime>%s</startTime></item>`,
			s.ID, s.State, s.StateMessage, s.Progress, s.Started.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&body, `</snapshotSet><nextToken>%s</nextToken></DescribeSnapshotsResponse>`, next)
	return answer{body: body.String()}
}

func createdAnswer(id string) answer {
	return answer{body: fmt.Sprintf(`<CreateVolumeResponse %s><volumeId>%s</volumeId><status>creating</status><size>5</size></CreateVolumeResponse>`, xmlns, id)}
}

// wantFault checks the class of err and returns it as a fault.
func wantFault(t *testing.T, err error, class Class) *Fault {
	t.Helper()
	fault, ok := errors.AsType[*Fault](err)
	if !ok {
		t.Fatalf("got %v (%T), want a fault of class %s", err, err, class)
	}
	if fault.Class != class {
		t.Fatalf("class is %s, want %s: %v", fault.Class, class, err)
	}
	return fault
}
