package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"snaptastic-fleet/config"
	"snaptastic-fleet/flow"
)

// An attempt that the server made because it did not hear of the one before waits until that one has ended, and says meanwhile that it is
// alive. Silent, it would be given up in its turn.
func TestASecondAttemptIsHeardWhileItWaits(t *testing.T) {
	program := filepath.Join(t.TempDir(), "snaptastic")
	result := `{"run": "r-1", "outcome": "done", "repeated": true, "lanes": [{"snapshot_id": "snap-1"}]}`
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+result+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := &Worker{Name: "h1", Program: Program{Path: program}, Config: config.Worker{Allow: []string{"snapshot db"}}, Now: time.Now}
	var suite testsuite.WorkflowTestSuite
	e := suite.NewTestActivityEnvironment()
	e.RegisterActivity(w.Window)
	heard := make(chan struct{}, 100)
	e.SetOnActivityHeartbeatListener(func(*activity.Info, converter.EncodedValues) { heard <- struct{}{} })
	w.one.Lock() // the earlier attempt
	ended := make(chan error, 1)
	var got flow.WindowResult
	go func() {
		at := time.Now().Add(time.Minute)
		value, err := e.ExecuteActivity(w.Window, flow.WindowRequest{Snapshotter: "db", Set: "s", Key: "k", Members: 1, At: at, HoldUntil: at.Add(time.Second)})
		if err == nil {
			err = value.Get(&got)
		}
		ended <- err
	}()
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Error("it is silent while it waits")
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	}
	w.one.Unlock()
	if err := <-ended; err != nil || got.Run != "r-1" || len(got.Snapshots) != 1 {
		t.Errorf("%v %+v", err, got)
	}
}
