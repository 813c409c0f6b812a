package flow

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"go.temporal.io/sdk/temporal"
)

// A host is asked again for minutes where what is wrong may pass, and once where it will not.
func TestAHostThatMayBeReadySoonIsAskedAgain(t *testing.T) {
	busy := temporal.NewApplicationError("run 7 has the volume", "Again")
	for name, c := range map[string]struct {
		fails func(try int64) error
		want  string // of the error
		tries func(n int64) bool
	}{
		"it passes": {fails: func(try int64) error {
			if try < 8 {
				return busy
			}
			return nil
		}, tries: func(n int64) bool { return n == 8 }},
		"it stays":                  {fails: func(int64) error { return busy }, want: "nothing was frozen: h1: run 7 has the volume", tries: func(n int64) bool { return n > 10 && n < 40 }},
		"the program cannot be run": {fails: func(int64) error { return errors.New("fork: no memory") }, want: "nothing was frozen: h1: fork: no memory", tries: func(n int64) bool { return n > 10 }},
		"it is final": {fails: func(int64) error { return temporal.NewNonRetryableApplicationError("no clock", "NotReady", nil) },
			want: "nothing was frozen: h1: no clock", tries: func(n int64) bool { return n == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int64
			w := &world{}
			w.prepare = func(h string) (Ready, error) {
				if h != "h1" {
					return Ready{Members: 2}, nil
				}
				return Ready{Members: 2}, c.fails(tries.Add(1))
			}
			e := w.env(t)
			e.ExecuteWorkflow(Snapshot, request(2))
			_, err := snapshotResult(t, e)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if n := tries.Load(); !c.tries(n) || (w.armed > 0) != (err == nil) {
				t.Errorf("asked %d times, %d armed", n, w.armed)
			}
		})
	}
}
