package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"snaptastic-fleet/link"
)

const histories = "testdata/histories"

// saveHistory keeps what the server recorded of a workflow, for the tests below, in the folder that SNAPTASTIC_SAVE_HISTORIES names. What
// has been saved before stays: it is of an earlier build.
func (r *rig) saveHistory(name, id string) {
	folder := os.Getenv("SNAPTASTIC_SAVE_HISTORIES")
	if folder == "" {
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
	if err := os.MkdirAll(folder, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(unusedName(folder, name), []byte(r.anywhere(string(text))+"\n"), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func unusedName(folder, name string) string {
	name = strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
	file := filepath.Join(folder, name+".json")
	for n := 2; ; n++ {
		if _, err := os.Stat(file); err != nil {
			return file
		}
		file = filepath.Join(folder, fmt.Sprintf("%s-%d.json", name, n))
	}
}

var (
	payloadData = regexp.MustCompile(`"data":"([A-Za-z0-9+/=]*)"`)
	identityOf  = regexp.MustCompile(`"identity":"(control|host|[0-9]+@)[^"]*"`)
)

// eachPayload replaces what the payloads of a history hold.
func eachPayload(history string, change func(string) string) string {
	return payloadData.ReplaceAllStringFunc(history, func(s string) string {
		raw, err := base64.StdEncoding.DecodeString(payloadData.FindStringSubmatch(s)[1])
		if err != nil {
			return s
		}
		return `"data":"` + base64.StdEncoding.EncodeToString([]byte(change(string(raw)))) + `"`
	})
}

// anywhere takes out of a history what is of this machine.
func (r *rig) anywhere(history string) string {
	there := func(s string) string { return strings.ReplaceAll(s, r.dir, "/rig") }
	return identityOf.ReplaceAllString(eachPayload(there(history), there), `"identity":"$1"`)
}

func savedHistories(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(histories + "/*.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	saved := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		saved[f] = string(text)
	}
	return saved
}

// What was begun under an earlier build goes on under this one: each saved history is played again, and the workflow must ask for the same things in the same order.
func TestSavedHistoriesAreReplayed(t *testing.T) {
	for f, text := range savedHistories(t) {
		t.Run(filepath.Base(f), func(t *testing.T) {
			h, err := client.HistoryFromJSON(strings.NewReader(text), client.HistoryJSONOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r := worker.NewWorkflowReplayer()
			registerFlows(r)
			// The ids of cells begin with that of the workflow.
			id := h.Events[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowId()
			err = r.ReplayWorkflowHistoryWithOptions(quiet{}, h, worker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: id}})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

var (
	askedVersion = regexp.MustCompile(`GetVersion\([a-z.]+, "([^"]+)"`)
	flowName     = regexp.MustCompile(`r\.RegisterWorkflowWithOptions\([^"]*"([A-Za-z]+)"`)
)

// Each workflow, and each version of it that the code tells apart, is in a saved history: otherwise nothing would hold the next change against it.
func TestEveryVersionOfAWorkflowHasAHistory(t *testing.T) {
	all := ""
	for _, text := range savedHistories(t) {
		all += text
		eachPayload(text, func(s string) string { all += "\npayload " + s; return s })
	}
	const how = "no saved history has %s: SNAPTASTIC_SAVE_HISTORIES=" + histories + " SNAPTASTIC_FLEET=1 go test -run '^TestSaveHistories$' . (as root), or r.saveHistory in a test of yours"
	sources, _ := filepath.Glob("flow/*.go")
	found := 0
	for _, f := range append(sources, "worker.go") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range askedVersion.FindAllStringSubmatch(string(text), -1) {
			if found++; !strings.Contains(all, "\npayload \""+m[1]+"\"") {
				t.Errorf(how, "the version marker "+m[1])
			}
		}
		for _, m := range flowName.FindAllStringSubmatch(string(text), -1) {
			if found++; !strings.Contains(all, `"workflowType":{"name":"`+m[1]+`"}`) {
				t.Errorf(how, "the workflow "+m[1])
			}
		}
	}
	if found < 7 {
		t.Errorf("%d workflows and versions were found in the code", found)
	}
}

var (
	// mountPoint of a host, as errors name it: the rig's own folder is /rig in what is saved.
	mountPoint = regexp.MustCompile(`/rig/mnt/[0-9]+\b`)
	// mustNot be in a history: paths, flags that name some, keys, lines of settings, environments.
	mustNot = regexp.MustCompile(`/(rig|tmp|root|home|work|etc|usr|var|run|proc)/[^" ]*|--(state-dir|settings|sandbox|config|key-file|endpoint-url|metadata-url)\b|` +
		`PRIVATE KEY|AKIA[A-Z0-9]+|\b[A-Za-z0-9+/]{43}=|\b(AWS|SNAPTASTIC|TEMPORAL)_[A-Z_]+|\b(HOME|PATH|USER|TOKEN|SECRET|PASSWORD)=|` +
		`\b(key_file|key_command|mount_point|filter_tags|file_system|trust_clock) *=|snapshotter \\*"`)
)

// Histories are ids, times and counts, and errors: these may name a mount point, and no other path or secret of the machine that they were saved on, or of its hosts.
func TestSavedHistoriesHoldNoPathsAndNoSecrets(t *testing.T) {
	for f, text := range savedHistories(t) {
		check := func(s string) string {
			if found := mustNot.FindString(mountPoint.ReplaceAllString(s, "MOUNT")); found != "" {
				t.Errorf("%s has %s", filepath.Base(f), found)
			}
			return s
		}
		eachPayload(check(text), check)
	}
	for _, text := range []string{"/rig/h1/state", "`snaptastic resume R --state-dir x`", "AWS_SECRET_ACCESS_KEY", link.NewKey(), `snapshotter "db"`, `{"text":"snapshotter \"db\" {"}`, "PATH=/bin"} {
		if mustNot.FindString(text) == "" {
			t.Errorf("%s would not be found", text)
		}
	}
}
