package ec2

import (
	"net/http"
	"testing"
	"time"
)

func TestTheClockIsReadOffEachAnswer(t *testing.T) {
	here := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		date  string
		sent  time.Time
		took  time.Duration
		want  time.Duration
		known bool
	}{
		{"in step", "Sun, 01 Mar 2026 12:00:00 GMT", here.Add(500 * time.Millisecond), 0, 0, true},
		{"a slow answer counts from its middle", "Sun, 01 Mar 2026 12:00:00 GMT", here.Add(-500 * time.Millisecond), 2 * time.Second, 0, true},
		{"EC2 is ahead", "Sun, 01 Mar 2026 12:05:00 GMT", here, 0, 5*time.Minute + 500*time.Millisecond, true},
		{"EC2 is behind", "Sun, 01 Mar 2026 11:00:00 GMT", here, 0, -time.Hour + 500*time.Millisecond, true},
		{"no date", "", here, 0, 0, false},
		{"no date that can be read", "yesterday", here, 0, 0, false},
	} {
		var k clock
		k.observe(&http.Response{Header: http.Header{"Date": {c.date}}}, c.sent, c.sent.Add(c.took))
		if skew, known := k.read(); skew != c.want || known != c.known {
			t.Errorf("%s: %s, %v; want %s, %v", c.name, skew, known, c.want, c.known)
		}
	}
}
