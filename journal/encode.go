package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
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
		r := e.Record
		for _, raw := range []json.RawMessage{r.Input, r.Before, r.Output, r.Mark} {
			if len(raw) > 0 && !json.Valid(raw) {
				return nil, fmt.Errorf("internal error: record of step %s is not JSON: %q", e.Step, raw)
			}
		}
		b := make([]byte, 0, 384+sealSize+len(r.Input)+len(r.Before)+len(r.Output)+len(r.Error))
		b = appendString(append(b, `{"step":`...), string(e.Step))
		b = append(b, `,"record":`...)
		start := len(b)
		b = r.append(b)
		end := len(b)
		b = append(b, '}')
		out = append(out, encoded{step: []byte(e.Step), body: b[start:end:end], event: b})
	}
	return out, nil
}

// append writes the record as json.Marshal does, in a tenth of its time: a
// chain of steps waits for it at each. Inputs and outputs are valid JSON and
// taken as they are.
func (r *Record) append(b []byte) []byte {
	text := func(key, v string) {
		if v != "" {
			b = appendString(append(b, key...), v)
		}
	}
	raw := func(key string, v json.RawMessage) {
		if len(v) > 0 {
			b = append(append(b, key...), v...)
		}
	}
	when := func(key string, t time.Time) {
		if !t.IsZero() {
			b = append(append(b, key...), '"')
			b = append(t.AppendFormat(b, time.RFC3339Nano), '"')
		}
	}
	b = appendString(append(b, `{"state":`...), string(r.State))
	b = strconv.AppendInt(append(b, `,"generation":`...), int64(r.Generation), 10)
	if r.Attempts != 0 {
		b = strconv.AppendInt(append(b, `,"attempts":`...), int64(r.Attempts), 10)
	}
	text(`,"token":`, r.Token)
	raw(`,"input":`, r.Input)
	text(`,"seen":`, string(r.Seen))
	raw(`,"before":`, r.Before)
	raw(`,"output":`, r.Output)
	if r.Facts != nil {
		facts, _ := json.Marshal(r.Facts) // of words and numbers it cannot fail
		raw(`,"facts":`, facts)
	}
	text(`,"error":`, r.Error)
	text(`,"hint":`, r.Hint)
	text(`,"note":`, r.Note)
	text(`,"boot_id":`, r.BootID)
	when(`,"started_at":`, r.StartedAt)
	when(`,"ended_at":`, r.EndedAt)
	if r.EverDone {
		b = append(b, `,"ever_done":true`...)
	}
	text(`,"undo":`, string(r.Undo))
	raw(`,"mark":`, r.Mark)
	text(`,"discarded":`, r.Discarded)
	when(`,"recorded_at":`, r.RecordedAt)
	if len(r.Retries) > 0 {
		retries, _ := json.Marshal(r.Retries) // of times, words and numbers it cannot fail
		raw(`,"retries":`, retries)
	}
	return append(b, '}')
}

// appendString quotes; what has to be escaped is left to json.Marshal.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // of a string it cannot fail
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
