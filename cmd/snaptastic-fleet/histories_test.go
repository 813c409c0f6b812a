package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

const histories = "testdata/histories"

// saveHistory keeps what the server recorded of a workflow, when SNAPTASTIC_SAVE_HISTORIES asks for it: for the test below.
func (r *rig) saveHistory(name, id string) {
	if os.Getenv("SNAPTASTIC_SAVE_HISTORIES") == "" {
		return
	}
	c, err := client.Dial(client.Options{HostPort: r.address(), Namespace: "fleet", Logger: quiet{}})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	var h historypb.History
	for i := c.GetWorkflowHistory(context.Background(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); i.HasNext(); {
		e, err := i.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	text, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(&h)
	if err != nil {
		r.t.Fatal(err)
	}
	text = []byte(strings.ReplaceAll(string(text), r.dir, "/rig"))
	if err := os.MkdirAll(histories, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(histories, strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")+".json"), append(text, '\n'), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// What was begun under an earlier build goes on under this one: each saved history is played again, and the workflow must ask for the same things in the same order.
func TestSavedHistoriesAreReplayed(t *testing.T) {
	files, err := filepath.Glob(histories + "/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			r := worker.NewWorkflowReplayer()
			registerFlows(r)
			if err := r.ReplayWorkflowHistoryFromJSONFile(quiet{}, f); err != nil {
				t.Error(err)
			}
		})
	}
}
