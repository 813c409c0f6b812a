package ec2

import (
	"testing"
	"time"
)

// Silence counts from the first request after the last answer. Whatever EC2 says of a request is an answer, but that it cannot serve any.
func TestSilenceCountsFromTheLastAnswer(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		fault  *Fault
		silent bool
	}{
		"success":          {nil, false},
		"throttled":        {&Fault{Class: Throttled, Code: "RequestLimitExceeded"}, false},
		"too many copies":  {&Fault{Class: RateExceeded, Code: "ResourceLimitExceeded"}, false},
		"denied":           {&Fault{Class: Denied, Code: "UnauthorizedOperation"}, false},
		"not found":        {&Fault{Class: NotFound, Code: "InvalidSnapshot.NotFound"}, false},
		"unavailable":      {&Fault{Class: Transient, Code: "ServiceUnavailable", Message: "lost"}, true},
		"perhaps a copy":   {&Fault{Class: Ambiguous, Code: "InternalError", Message: "lost"}, true},
		"no connection":    {&Fault{Class: Transient, Message: "lost"}, true},
		"given up waiting": {&Fault{Class: Canceled, Message: "canceled"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := &Client{}
			s := &client.silence
			for ago := 50 * time.Minute; ago > 40*time.Minute; ago -= time.Minute {
				s.asked(now.Add(-ago))
				s.ended(&Fault{Class: Transient, Message: "lost"})
			}
			s.asked(now.Add(-40 * time.Minute))
			s.ended(c.fault)
			quiet, last := client.Silence()
			if c.silent != (quiet >= 50*time.Minute) || c.silent != (last == "lost") {
				t.Errorf("silent for %s: %q", quiet, last)
			}
		})
	}
}

// A time in which nobody asked is no silence.
func TestNobodyAskingIsNoSilence(t *testing.T) {
	client := &Client{}
	now := time.Now()
	client.silence.asked(now.Add(-time.Hour))
	client.silence.ended(&Fault{Class: Canceled})
	client.silence.asked(now.Add(-time.Minute))
	if quiet, _ := client.Silence(); quiet > 2*time.Minute {
		t.Errorf("silent for %s, want a minute", quiet)
	}
}
