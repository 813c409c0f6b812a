package journal

import (
	"encoding/json"
	"slices"
)

// encoded is an entry as the file holds it: body for steps/ or meta/, event,
// which is the entry around the same bytes, for events/.
type encoded struct{ step, body, event []byte }

func encode(entries []Entry) ([]encoded, error) {
	out := make([]encoded, 0, len(entries))
	for _, e := range entries {
		if e.Meta != nil {
			body, err := json.Marshal(e.Meta)
			if err != nil {
				return nil, err
			}
			out = append(out, encoded{body: body, event: slices.Concat([]byte(`{"meta":`), body, []byte("}"))})
			continue
		}
		name, err := json.Marshal(e.Step)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(e.Record)
		if err != nil {
			return nil, err
		}
		event := slices.Concat([]byte(`{"step":`), name, []byte(`,"record":`), body, []byte("}"))
		out = append(out, encoded{[]byte(e.Step), body, event})
	}
	return out, nil
}
