package journal

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"snaptastic/plan"
)

// Each field by itself, and all together, is encoded as json.Marshal does.
func TestARecordIsEncodedAsJSONDoes(t *testing.T) {
	words := []string{"", "plain", `quo"ted \ back`, "<tag> & more", "line\nbreak\x00\x7f", "Grüße 雪 \u2028 \U0001f40e", "bad \xff byte"}
	times := []time.Time{{}, time.Unix(1, 0).UTC(), time.Date(2026, 2, 3, 4, 5, 6, 789000001, time.FixedZone("x", 5400)), time.Now()}
	raws := []json.RawMessage{nil, []byte(`{}`), []byte(`{"a":[1,"\u003c",null]}`), []byte(`"text"`)}
	pick := func(i int, v reflect.Value) {
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(times[i%len(times)]))
		case json.RawMessage:
			v.Set(reflect.ValueOf(raws[i%len(raws)]))
		case *plan.Facts:
			if i%3 > 0 {
				v.Set(reflect.ValueOf(&plan.Facts{VolumeID: words[i%len(words)], Remarks: words[:i%len(words)], FrozenSeconds: 0.057 * float64(i)}))
			}
		case []Retry:
			for n := range i % 3 {
				v.Set(reflect.Append(v, reflect.ValueOf(Retry{At: times[n], WaitSeconds: 0.25 * float64(i), Error: words[i%len(words)]})))
			}
		case int:
			v.SetInt(int64(i))
		case bool:
			v.SetBool(i%2 == 1)
		default:
			v.SetString(words[i%len(words)])
		}
	}
	check := func(r Record) {
		t.Helper()
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.append(nil); string(got) != string(want) {
			t.Errorf("encoded as\n%s\nwant\n%s", got, want)
		}
	}
	fields := reflect.TypeFor[Record]().NumField()
	for i := range 12 {
		var all Record
		for f := range fields {
			one := Record{}
			pick(i, reflect.ValueOf(&one).Elem().Field(f))
			check(one)
			pick(i+f, reflect.ValueOf(&all).Elem().Field(f))
		}
		check(all)
	}
}

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
