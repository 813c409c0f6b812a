package ec2

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Each attempt is told once: with how long it took, and with EC2's code where it failed.
func TestEachRequestIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := &fakeEC2{}, 0
		cloud.answer = func(request) answer {
			if n++; n < 3 {
				return throttled
			}
			return createdAnswer("vol-1")
		}
		client := cloud.client(t)
		var mu sync.Mutex
		var calls []Call
		client.OnCall(func(c Call) { mu.Lock(); defer mu.Unlock(); calls = append(calls, c) })
		began := time.Now()
		if _, err := client.CreateVolume(context.Background(), CreateVolumeRequest{ClientToken: "t"}); err != nil {
			t.Fatal(err)
		}
		client.OnCall(nil)
		if _, err := client.CreateVolume(context.Background(), CreateVolumeRequest{ClientToken: "u"}); err != nil {
			t.Fatal(err)
		}
		if len(calls) != 3 {
			t.Fatalf("observed %+v", calls)
		}
		for i, c := range calls {
			failed := i < 2
			if c.Action != "CreateVolume" || c.Throttled != failed || (c.Code == "RequestLimitExceeded") != failed || c.Sent.Before(began) || c.Took < 0 {
				t.Errorf("call %d is %+v", i, c)
			}
		}
	})
}
