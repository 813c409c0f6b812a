package journal

import (
	"encoding/json"
	"fmt"
	"slices"
)

// encoded is an entry as the file holds it: body for steps/ or meta/, event,
// which is the entry around the same bytes, for events/.
type encoded struct{ step, body, event []byte }

func encode(entries []Entry) ([]encoded, error) {
	out := make([]encoded, 0, len(entries))
	for _, e := range entries {
		var value any = e.Record
		head := []byte(`{"meta":`)
		if e.Meta != nil {
			value = e.Meta
		} else {
			step, _ := json.Marshal(e.Step) // of a string it cannot fail
			head = slices.Concat([]byte(`{"step":`), step, []byte(`,"record":`))
		}
		body, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("internal error: entry of step %q: %w", e.Step, err)
		}
		event := make([]byte, 0, len(head)+len(body)+1+sealSize)
		out = append(out, encoded{step: []byte(e.Step), body: body, event: append(append(append(event, head...), body...), '}')})
	}
	return out, nil
}
