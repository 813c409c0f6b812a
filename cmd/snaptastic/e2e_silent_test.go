package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"snaptastic/ec2/sandbox"
)

// a silencer stands before the sandbox and keeps what it asks from being answered, for some requests: it hangs or hangs up.
type silencer struct {
	mu      sync.Mutex
	silent  func(region, body string) bool // nil: none
	hangUp  bool
	held    chan struct{} // closed once all is answered again
	silence int           // how many were not answered
	calls   []string      // "REGION ACTION" of what was answered
	refused string        // what holds it is not allowed
}

// silenced puts one between the program and its sandbox.
func (r *rig) silenced(hangUp bool, silent func(region, body string) bool) *silencer {
	r.t.Helper()
	to, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &silencer{silent: silent, hangUp: hangUp, held: make(chan struct{})}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }} // without X-Forwarded-For, at which IMDSv2 answers 403
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil || !s.answers(q, string(body)) {
			panic(http.ErrAbortHandler)
		}
		if s.silent != nil && s.refused != "" && strings.Contains(string(body), s.refused) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized.</Message></Error></Errors><RequestID>x</RequestID></Response>`)
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, q)
	}))
	r.t.Cleanup(func() { s.answer(); server.Close() })
	r.url = server.URL
	return s
}

// answers says whether a request is answered, once that is so.
func (s *silencer) answers(q *http.Request, body string) bool {
	region := ""
	if scope := strings.Split(q.Header.Get("Authorization"), "/"); len(scope) > 2 { // of the signature: KEY/DATE/REGION/…
		region = scope[2]
	}
	s.mu.Lock()
	silent, held := s.silent != nil && s.silent(region, body), s.held
	if silent {
		s.silence++
	} else if form, err := url.ParseQuery(body); err == nil {
		s.calls = append(s.calls, region+" "+form.Get("Action"))
	}
	s.mu.Unlock()
	if !silent || s.hangUp {
		return !silent
	}
	select {
	case <-held:
		return true
	case <-q.Context().Done():
		return false
	}
}

// answer ends the silence.
func (s *silencer) answer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent != nil {
		s.silent = nil
		close(s.held)
	}
}

func (s *silencer) unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silence
}

func (s *silencer) count(call string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c == call {
			n++
		}
	}
	return n
}

func region(name string) func(string, string) bool {
	return func(region, _ string) bool { return region == name }
}

var virginia = sandbox.World{Account: sandbox.Account, Region: "us-east-1"}

// While one destination hangs, a check tells of the other one, and the set is copied whole to the other one. The same command copies it to the first as well once that answers.
func TestADestinationThatHangsDelaysNoOtherOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "ext4")
	r.copying(`  copy "eu-central-1" {}` + "\n" + `  copy "us-east-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	s := r.silenced(false, region("eu-central-1"))
	if out := r.wants(exitFailed, "copied to us-east-1: no copy exists there", "check", "db"); !strings.Contains(out, "copied to eu-central-1: its copies cannot be checked") {
		t.Errorf("the check says\n%s", out)
	}
	asked := s.unanswered()
	cmd := r.background("run", "copy", "db", "--patience", "30m")
	r.eventually("a set in the other region", func() bool { return s.count("us-east-1 CreateTags") == 1 })
	if n := s.unanswered() - asked; n > 2 { // the first look at all, and the one of its lane
		t.Errorf("%d requests went to the region that hangs before the copies to the other one", n)
	}
	if n := r.wholeSets(virginia); n != 1 {
		t.Errorf("%d sets are in the other region, want 1", n)
	}
	s.answer()
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are in the region that answers again, want 1", n)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished are %v", left)
	}
	if n := s.count("us-east-1 CopySnapshot"); n != 2 {
		t.Errorf("%d copies were made in the other region, want 2", n)
	}
}

// A destination that hangs up, and accounts that cannot be asked about, and a manifest that does not exist fail for themselves.
func TestWhatCannotBeLookedAtFailsByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	missing := filepath.Join(r.dir, "missing")
	r.copying("")
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	r.copying(`  copy "eu-central-1" {}` + "\n" + `  copy "us-east-1" {}` + "\n  share_with = [\"222222222222\"]\n  copy_from = \"" + missing + "\"")
	s := r.silenced(true, region("eu-central-1"))
	s.refused = "222222222222"
	out := r.wants(exitSomeLanes, "cannot find out which sets eu-central-1 lacks", "run", "copy", "db", "--patience", "2s")
	for _, want := range []string{"cannot copy from the manifest " + missing, "snapshots NAME --manifest FILE", "cannot find out which sets are shared"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if n := r.wholeSets(virginia); n != 1 {
		t.Errorf("%d sets are in the other region, want 1", n)
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished are %v", left)
	}
	s.answer()
	if out := r.wants(exitSomeLanes, missing, "run", "copy", "db"); count(r.calls())["ModifySnapshotAttribute"] != 1 || r.wholeSets(frankfurt) != 1 {
		t.Errorf("all answer, and it says\n%s", out)
	}
}
