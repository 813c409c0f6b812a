package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// asRef reads {"$step": "id"}, and nothing else, as a reference.
func asRef(b []byte) (StepID, bool) {
	b = bytes.TrimSpace(b)
	id, n := refAt(b)
	return id, n > 0 && n == len(b)
}

// refAt reads the reference that valid JSON begins with, and how long it is; 0
// when it begins with something else.
func refAt(b []byte) (id StepID, n int) {
	rest := b
	for _, part := range []string{"{", `"` + refKey + `"`, ":"} {
		var ok bool
		if rest, ok = bytes.CutPrefix(skipSpace(rest), []byte(part)); !ok {
			return "", 0
		}
	}
	rest = skipSpace(rest)
	end := endOfString(rest)
	if json.Unmarshal(rest[:end], &id) != nil || id == "" {
		return "", 0
	}
	if rest = skipSpace(rest[end:]); len(rest) == 0 || rest[0] != '}' {
		return "", 0
	}
	return id, len(b) - len(rest) + 1
}

func skipSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// endOfString is where the string ends that b begins with; 0 for no string.
func endOfString(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
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

// rewrite copies JSON, replacing references. An input without the key, the
// usual case, is returned as it is.
func rewrite(in json.RawMessage, replace func(StepID) (json.RawMessage, error)) (json.RawMessage, error) {
	if !bytes.Contains(in, []byte(refKey)) {
		return in, nil
	}
	if !json.Valid(in) {
		return nil, fmt.Errorf("input is not JSON: %s", strings.TrimSpace(string(in)))
	}
	var out []byte
	copied := 0
	for i := 0; i < len(in); {
		switch in[i] {
		case '"':
			end := i + endOfString(in[i:])
			if string(in[i:end]) == `"`+refKey+`"` && bytes.HasPrefix(skipSpace(in[end:]), []byte(":")) {
				return nil, fmt.Errorf("input holds a literal %q key", refKey)
			}
			i = end
		case '{':
			id, n := refAt(in[i:])
			if n == 0 {
				i++
				continue
			}
			by, err := replace(id)
			if err != nil {
				return nil, err
			}
			if by == nil {
				by = in[i : i+n]
			}
			out = append(append(out, in[copied:i]...), by...)
			i += n
			copied = i
		default:
			i++
		}
	}
	return append(out, in[copied:]...), nil
}
