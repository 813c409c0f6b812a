package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// refKey marks a reference in a step's input. A literal input must not hold it.
const refKey = "$step"

// A Value is a literal T, or a reference to the output of an earlier step.
// Only Add makes references, so a snapshot id cannot be wired into a volume id.
type Value[T any] struct {
	lit   T
	ref   StepID
	known bool
}

// Literal is the value v, known when the plan is compiled.
func Literal[T any](v T) Value[T] { return Value[T]{lit: v, known: true} }

// Get returns the value and whether it is known: a reference that is not
// resolved yet, or whose step ended without an output, is not.
func (v Value[T]) Get() (T, bool) { return v.lit, v.known }

// Must returns a value that a step's needs guarantee to be known.
func (v Value[T]) Must() T { return v.lit }

// Step is the step a reference points to; "" for a literal.
func (v Value[T]) Step() StepID { return v.ref }

func (v Value[T]) MarshalJSON() ([]byte, error) {
	if v.ref != "" {
		return json.Marshal(map[string]StepID{refKey: v.ref})
	}
	if !v.known {
		return []byte("null"), nil
	}
	return json.Marshal(v.lit)
}

func (v *Value[T]) UnmarshalJSON(b []byte) error {
	*v = Value[T]{}
	if ref, ok := asRef(b); ok {
		v.ref = ref
		return nil
	}
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return nil
	}
	v.known = true
	return json.Unmarshal(b, &v.lit)
}

func asRef(b []byte) (StepID, bool) {
	if !bytes.Contains(b, []byte(refKey)) {
		return "", false
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(b, &m) != nil || len(m) != 1 {
		return "", false
	}
	raw, ok := m[refKey]
	if !ok {
		return "", false
	}
	var id StepID
	if json.Unmarshal(raw, &id) != nil || id == "" {
		return "", false
	}
	return id, true
}

// References lists the steps an input refers to, in order of appearance. A
// "$step" key that is not a reference is an error.
func References(in json.RawMessage) ([]StepID, error) {
	var refs []StepID
	_, err := rewrite(in, func(id StepID) (json.RawMessage, error) {
		refs = append(refs, id)
		return json.RawMessage("null"), nil
	})
	return addIDs(nil, refs...), err
}

// Resolve replaces each reference in an input by what output returns for it. A
// nil output leaves the reference in place (it is not known yet).
func Resolve(in json.RawMessage, output func(StepID) json.RawMessage) (json.RawMessage, error) {
	return rewrite(in, func(id StepID) (json.RawMessage, error) { return output(id), nil })
}

// rewrite copies JSON, replacing references. Inputs are small; an input
// without the key, the usual case, is returned as it is.
func rewrite(in json.RawMessage, replace func(StepID) (json.RawMessage, error)) (json.RawMessage, error) {
	if !bytes.Contains(in, []byte(refKey)) {
		return in, nil
	}
	if id, ok := asRef(in); ok {
		out, err := replace(id)
		if out == nil {
			out = in
		}
		return out, err
	}
	switch bytes.TrimSpace(in)[0] {
	case '{':
		var m map[string]json.RawMessage
		if err := json.Unmarshal(in, &m); err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(m)) { // in one order: edges follow from it, and the digest
			if k == refKey {
				return nil, fmt.Errorf("input holds a literal %q key", refKey)
			}
			r, err := rewrite(m[k], replace)
			if err != nil {
				return nil, err
			}
			m[k] = r
		}
		return json.Marshal(m)
	case '[':
		var l []json.RawMessage
		if err := json.Unmarshal(in, &l); err != nil {
			return nil, err
		}
		for i, v := range l {
			r, err := rewrite(v, replace)
			if err != nil {
				return nil, err
			}
			l[i] = r
		}
		return json.Marshal(l)
	case '"': // a string that happens to hold the key's text
		return in, nil
	}
	return nil, fmt.Errorf("input is not JSON: %s", strings.TrimSpace(string(in)))
}
