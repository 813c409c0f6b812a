package render

import (
	"encoding/json"
	"testing"
)

func TestDurationsOfStepsAreInSeconds(t *testing.T) {
	for raw, want := range map[string]string{
		`{"took":"1.5s"}`:                                      `{"took_seconds":1.5}`,
		`{"max_hold":"1m30s","mounts":["/a"]}`:                 `{"max_hold_seconds":90,"mounts":["/a"]}`,
		`{"pre":{"took":"57ms"},"n":12345678901234567890}`:     `{"n":12345678901234567890,"pre":{"took_seconds":0.057}}`,
		`[{"timeout":"0s"}]`:                                   `[{"timeout_seconds":0}]`,
		`{"set":{"tags":{"took":"5m"}},"patience":"2h"}`:       `{"patience_seconds":7200,"set":{"tags":{"took":"5m"}}}`, // a user's tag
		`{"last":"not a duration","b": 1}`:                     `{"last":"not a duration","b": 1}`,
		`{"took":{"$step":"hook:a"},"a":"<b>"}`:                `{"took":{"$step":"hook:a"},"a":"<b>"}`,
		``:                                                     ``,
		`{"z":1,"a":"stays in its order where nothing is so"}`: `{"z":1,"a":"stays in its order where nothing is so"}`,
	} {
		if got := inSeconds(json.RawMessage(raw)); string(got) != want {
			t.Errorf("%s becomes %s, want %s", raw, got, want)
		}
	}
}
