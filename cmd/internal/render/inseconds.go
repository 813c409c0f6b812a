package render

import (
	"bytes"
	"encoding/json"
	"time"
)

// durations are the fields of step inputs and outputs that a journal keeps as "1m30s". Programs get them in seconds, with
// the unit in the name.
var durations = map[string]bool{"timeout": true, "patience": true, "max_hold": true, "expire_after": true, "took": true, "frozen": true, "last": true, "clock_error": true}

// userMaps hold names that users chose.
var userMaps = map[string]bool{"tags": true, "filter_tags": true}

// inSeconds rewrites the durations of a step's input or output: "took": "1.5s" becomes "took_seconds": 1.5.
func inSeconds(raw json.RawMessage) json.RawMessage {
	if !bytes.Contains(raw, []byte(`":"`)) { // no text
		return raw
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || !convert(v) {
		return raw
	}
	out, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return out
}

// convert changes v in place and tells whether it did.
func convert(v any) (changed bool) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			changed = convert(item) || changed
		}
	case map[string]any:
		for key, item := range v {
			if text, is := item.(string); is && durations[key] {
				if d, err := time.ParseDuration(text); err == nil {
					delete(v, key)
					v[key+"_seconds"] = d.Seconds()
					changed = true
				}
				continue
			}
			if !userMaps[key] {
				changed = convert(item) || changed
			}
		}
	}
	return changed
}
