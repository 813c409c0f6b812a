package plan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	outputs := map[StepID]json.RawMessage{"a": []byte(`{"id":"vol-1"}`), "b": []byte(`7`), `odd "name"`: []byte(`true`)}
	for _, c := range []struct {
		name, in, want string
		refs           []StepID
	}{
		{"no reference", `{"x":1}`, `{"x":1}`, nil},
		{"the whole", `{"$step":"a"}`, `{"id":"vol-1"}`, []StepID{"a"}},
		{"fields", `{"z":{"$step":"a"},"y":{"$step":"b"}}`, `{"z":{"id":"vol-1"},"y":7}`, []StepID{"a", "b"}},
		{"one twice", `[{"$step":"b"},{"$step":"b"}]`, `[7,7]`, []StepID{"b"}},
		{"deep", `{"x":[{"y":[[{"$step":"b"}]]}]}`, `{"x":[{"y":[[7]]}]}`, []StepID{"b"}},
		{"spaces", ` { "$step" : "b" } `, ` 7 `, []StepID{"b"}},
		{"not known yet", `{"x":{"$step":"later"}}`, `{"x":{"$step":"later"}}`, []StepID{"later"}},
		{"an escaped name", `{"x":{"$step":"odd \"name\""}}`, `{"x":true}`, []StepID{`odd "name"`}},
		{"the key as text", `{"x":"$step","y":"{\"$step\":\"a\"}"}`, `{"x":"$step","y":"{\"$step\":\"a\"}"}`, nil},
		{"text that ends in a backslash", `{"x":"\\","y":{"$step":"b"}}`, `{"x":"\\","y":7}`, []StepID{"b"}},
		{"a key that looks like it", `{"$steps":{"$step":"b"}}`, `{"$steps":7}`, []StepID{"b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Resolve([]byte(c.in), func(id StepID) json.RawMessage { return outputs[id] })
			if err != nil || string(got) != c.want {
				t.Errorf("Resolve = %s, %v; want %s", got, err, c.want)
			}
			refs, err := References([]byte(c.in))
			if err != nil || !slices.Equal(refs, c.refs) {
				t.Errorf("References = %v, %v; want %v", refs, err, c.refs)
			}
		})
	}
}

func TestWhatIsNoReferenceIsNotTakenForOne(t *testing.T) {
	for _, in := range []string{
		`{"$step":5}`, `{"$step":""}`, `{"$step":null}`, `{"$step":{"x":1}}`, `{"$step":"a","more":1}`, `{"more":1,"$step":"a"}`,
		`{"$step":"a","$step":"b"}`, `{"x":{"$step":"a","y":{"$step":"b"}}}`, `{"$step":"a"`, `{"$step":"a`, `{"$step"`, `{"$step":"a"}}`, `{"$step":"a"} 1`,
	} {
		if got, err := Resolve([]byte(in), func(StepID) json.RawMessage { return []byte("1") }); err == nil {
			t.Errorf("Resolve(%s) = %s; want an error", in, got)
		}
		if id, ok := asRef([]byte(in)); ok {
			t.Errorf("asRef(%s) = %s", in, id)
		}
	}
}

// Replacing each reference leaves valid JSON, and the same whichever way it is read.
func FuzzResolve(f *testing.F) {
	f.Add(`{"x":{"$step":"a"},"y":["\"{",{"$step":"b\\"}]}`)
	f.Add(`{"$step":"\u0061"}`)
	f.Fuzz(func(t *testing.T, in string) {
		out, err := Resolve([]byte(in), func(StepID) json.RawMessage { return []byte("1") })
		if err != nil || !json.Valid([]byte(in)) || strings.Contains(in, `\u0`) { // an escaped key is none
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%s became %s", in, out)
		}
		if a, b := withoutReferences(t, in), withoutReferences(t, string(out)); a != b {
			t.Fatalf("%s became %s: %s is not %s", in, out, b, a)
		}
	})
}

// withoutReferences is JSON with 1 for each reference, read by encoding/json.
func withoutReferences(t *testing.T, in string) string {
	t.Helper()
	var walk func(any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			if id, ok := v[refKey].(string); ok && len(v) == 1 && id != "" {
				return 1
			}
			for k := range v {
				v[k] = walk(v[k])
			}
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		}
		return v
	}
	d := json.NewDecoder(strings.NewReader(in))
	d.UseNumber() // a number may be larger than any float
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	b, err := json.Marshal(walk(v))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
