package sandbox

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What a metadata service may do while its machine boots can be played by path and by count.
func TestMetadataFaultsHitByPathAndCount(t *testing.T) {
	garbage := `{"Code": "Succ`
	const role = "/latest/meta-data/iam/security-credentials/"
	for _, c := range []struct {
		fault        Fault
		first, then  int
		body         string // of the first answer
		other, reset bool   // another path is struck as well
	}{
		{fault: Fault{Action: "imds", Params: map[string]string{"Path": "*security-credentials*"}, Status: 404, Count: 1}, first: 404, then: 200},
		{fault: Fault{Action: "imds", Params: map[string]string{"Path": "*security-credentials*"}, Status: 401, Count: 1}, first: 401, then: 200},
		{fault: Fault{Action: "imds", Params: map[string]string{"Path": "*security-credentials*"}, Status: 503}, first: 503, then: 503},
		{fault: Fault{Action: "imds", Params: map[string]string{"Path": "*security-credentials*"}, Body: &garbage, Count: 1}, first: 200, then: 200, body: garbage},
		{fault: Fault{Action: "imds", Status: 429}, first: 429, then: 429, other: true},
		{fault: Fault{Action: "imds", Reset: "before", Count: 1}, reset: true, then: 200},
	} {
		t.Run(c.fault.word(), func(t *testing.T) {
			w, err := Open(Config{Dir: t.TempDir(), FilesOnly: true, Faults: []Fault{c.fault}})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://127.0.0.1/latest/api/token", nil)
			if err != nil {
				t.Fatal(err)
			}
			put.Header.Set(ttlHeader, "60")
			token := string(newToken(put).body)
			ask := func(path string) (int, string, error) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set(tokenHeader, token)
				reply, err := w.RoundTripper().RoundTrip(r)
				if err != nil {
					return 0, "", err
				}
				defer reply.Body.Close()
				var text strings.Builder
				if _, err := io.Copy(&text, reply.Body); err != nil {
					t.Fatal(err)
				}
				return reply.StatusCode, text.String(), nil
			}
			if !c.reset {
				if status, _, err := ask("/latest/dynamic/instance-identity/document"); err != nil || (status != 200) != c.other {
					t.Errorf("another path: %d, %v", status, err)
				}
			}
			status, body, err := ask(role)
			if status != c.first || (err != nil) != c.reset || c.body != "" && body != c.body {
				t.Errorf("first %d %q, %v", status, body, err)
			}
			if status, body, err := ask(role); status != c.then || err != nil || status == 200 && body != roleName {
				t.Errorf("then %d %q, %v", status, body, err)
			}
		})
	}
}
