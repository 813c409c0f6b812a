package journal

import (
	"encoding/json"
	"testing"
	"time"

	"snaptastic/plan"
)

// An event is the entry around the very bytes of the record.
func TestAnEventHoldsTheRecord(t *testing.T) {
	for _, step := range []plan.StepID{"mount:/a", `mount:/odd "name" <é>`} {
		r := Record{State: Done, Generation: 2, Output: []byte(`{"x":1}`), Error: "it failed: \"why\"", EndedAt: time.Now()}
		out, err := encode([]Entry{{Step: step, Record: &r}})
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(Entry{Step: step, Record: &r})
		body, _ := json.Marshal(r)
		if e := out[0]; string(e.event) != string(want) || string(e.body) != string(body) || string(e.step) != string(step) {
			t.Errorf("event %s\nwant  %s\nbody  %s", e.event, want, e.body)
		}
	}
}
