package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// chromiumName is the program of a browser that needs no screen; "" where there is none.
func chromiumName() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	return ""
}

// chromium skips the test where there is no browser.
func chromium(t *testing.T) {
	t.Helper()
	heavy(t)
	if chromiumName() == "" {
		t.Skip("needs Chromium (Debian package chromium)")
	}
}

// browser is a Chromium that all tests share, spoken to over two pipes: https://chromedevtools.github.io/devtools-protocol/
type browser struct {
	cmd     *exec.Cmd
	in      *os.File
	profile string

	mu      sync.Mutex
	last    int
	answers map[int]chan answer
	over    error
}

type answer struct {
	ID     int
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startBrowser starts it at the first page; endBrowser ends it.
var (
	startBrowser = sync.OnceValues(newBrowser)
	endBrowser   = func() {}
)

func newBrowser() (*browser, error) {
	path, err := exec.LookPath(chromiumName())
	if err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b := &browser{in: in, profile: filepath.Join(scratch, "chromium"), answers: map[int]chan answer{}}
	b.cmd = exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+b.profile, "--window-size=1400,1000",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-background-networking", "--disable-component-update", "--no-first-run",
		"--remote-debugging-pipe")
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	err = b.cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return nil, err
	}
	endBrowser = func() {
		_ = in.Close() // which it takes for its end
		stop := time.AfterFunc(10*time.Second, func() { _ = b.cmd.Process.Kill() })
		defer stop.Stop()
		_ = b.cmd.Wait()
	}
	go b.listen(out)
	return b, nil
}

// listen hands each answer to whoever waits for it.
func (b *browser) listen(out *os.File) {
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadBytes(0)
		b.mu.Lock()
		if err != nil {
			b.over = fmt.Errorf("the browser is gone: %w", err)
			for _, c := range b.answers {
				close(c)
			}
			clear(b.answers)
			b.mu.Unlock()
			return
		}
		var a answer
		if json.Unmarshal(bytes.TrimRight(line, "\x00"), &a) == nil && b.answers[a.ID] != nil {
			b.answers[a.ID] <- a
			delete(b.answers, a.ID)
		}
		b.mu.Unlock()
	}
}

// call asks the browser, or one of its pages when session is not empty.
func (b *browser) call(t *testing.T, session, method string, params map[string]any, result any) {
	t.Helper()
	c := make(chan answer, 1)
	b.mu.Lock()
	b.last++
	request := map[string]any{"id": b.last, "method": method, "params": params}
	if session != "" {
		request["sessionId"] = session
	}
	body, err := json.Marshal(request)
	if err = errors.Join(err, b.over); err == nil {
		b.answers[b.last] = c
		_, err = b.in.Write(append(body, 0))
	}
	b.mu.Unlock()
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	select {
	case a, ok := <-c:
		if !ok {
			t.Fatalf("%s: the browser ended", method)
		}
		if a.Error != nil {
			t.Fatalf("%s: %s", method, a.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(a.Result, result); err != nil {
				t.Fatalf("%s: %v in %.300s", method, err, a.Result)
			}
		}
	case <-time.After(5 * time.Minute):
		t.Fatalf("%s: no answer in five minutes", method)
	}
}

// tab is a page that is open, in a window of its own: what is behind another one is not painted.
type tab struct {
	t       *testing.T
	b       *browser
	session string
}

// openTab shows what a server has at "/". What is asked for beyond its files fails the test: a report needs nothing else.
// A page that is probed does not keep scripts of the test out.
func openTab(t *testing.T, files map[string][]byte, scheme string, probed bool) *tab {
	t.Helper()
	chromium(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		if !ok {
			if r.URL.Path != "/favicon.ico" { // asked for by the browser itself
				t.Errorf("the page asks for %s", r.URL)
			}
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	b, err := startBrowser()
	if err != nil {
		t.Fatal(err)
	}
	var target struct{ TargetID string }
	b.call(t, "", "Target.createTarget", map[string]any{"url": "about:blank", "newWindow": true, "width": 1400, "height": 1000}, &target)
	t.Cleanup(func() { b.call(t, "", "Target.closeTarget", map[string]any{"targetId": target.TargetID}, nil) })
	var attached struct{ SessionID string }
	b.call(t, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &tab{t, b, attached.SessionID}
	b.call(t, p.session, "Page.enable", nil, nil)
	b.call(t, p.session, "Page.setBypassCSP", map[string]any{"enabled": probed}, nil)
	b.call(t, p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call(t, p.session, "Page.navigate", map[string]any{"url": server.URL + "/"}, nil)
	p.until(`document.readyState=="complete"&&location.href!="about:blank"`)
	return p
}

// eval is the value of an expression in the page, or what a promise comes to.
func (p *tab) eval(expression string, value any) {
	p.t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.b.call(p.t, p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got)
	if e := got.ExceptionDetails; e != nil {
		p.t.Fatalf("the script failed: %s %s", e.Text, e.Exception.Description)
	}
	if value == nil {
		return
	}
	if err := json.Unmarshal(got.Result.Value, value); err != nil {
		p.t.Fatalf("%v in %.300s", err, got.Result.Value)
	}
}

// until waits for a condition in the page.
func (p *tab) until(condition string) {
	p.t.Helper()
	is := false
	for deadline := time.Now().Add(5 * time.Minute); !is; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("the page never came to %s", condition)
		}
		p.eval(condition, &is)
	}
}

// look opens a page in the browser and returns what a script that runs in it hands to done(value).
func look[T any](t *testing.T, page []byte, script string) (found T) {
	t.Helper()
	if !strings.Contains(string(page), `<meta http-equiv="Content-Security-Policy"`) {
		t.Fatal("the page has no content security policy")
	}
	openTab(t, map[string][]byte{"/": page}, "light", true).eval("new Promise(function(done){"+script+"})", &found)
	return found
}

// browse opens "/" of a server with these files, and returns the document as it is then, with the page's own policy.
func browse(t *testing.T, files map[string][]byte) (document string) {
	t.Helper()
	openTab(t, files, "light", false).eval("document.documentElement.outerHTML", &document)
	return document
}

// firstPaint is how many milliseconds after the page was asked for something of it was seen.
func firstPaint(t *testing.T, page []byte) (ms float64) {
	t.Helper()
	p := openTab(t, map[string][]byte{"/": page}, "light", true)
	const painted = `performance.getEntriesByName("first-contentful-paint")`
	p.until(painted + ".length>0")
	p.eval(painted+"[0].startTime", &ms)
	return ms
}

// axeVersion is of axe-core, which checks a page for what keeps people out: https://github.com/dequelabs/axe-core
const (
	axeVersion = "4.14.1"
	axeSum     = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745" // SHA-256 of the npm package
)

// axe is the script; it is fetched from npm once and kept.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "snaptastic-test-tools")
	tarball := filepath.Join(dir, "axe-core-"+axeVersion+".tgz")
	body, err := os.ReadFile(tarball)
	if sum := sha256.Sum256(body); err != nil || hex.EncodeToString(sum[:]) != axeSum {
		if _, err := exec.LookPath("npm"); err != nil {
			t.Skip("needs npm, to get axe-core")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", dir, "axe-core@"+axeVersion).CombinedOutput(); err != nil {
			t.Skipf("axe-core cannot be fetched from npm: %v: %s", err, out)
		}
		if body, err = os.ReadFile(tarball); err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != axeSum {
			t.Fatalf("%s has SHA-256 %x, want %s", tarball, sum, axeSum)
		}
	}
	return tool(t, "tar", "-xzOf", tarball, "package/axe.min.js")
}

// accessible fails where the page keeps out who cannot see it, or not well.
func accessible(t *testing.T, page []byte) {
	t.Helper()
	script := axe(t)
	type violation struct {
		ID, Help string
		Nodes    []string
	}
	for _, scheme := range []string{"light", "dark"} {
		p := openTab(t, map[string][]byte{"/": page}, scheme, true)
		p.eval(script+";0", nil)
		var found []violation
		p.eval(`document.querySelectorAll("details").forEach(function(d){d.open=true});
axe.run(document,{resultTypes:["violations"]}).then(function(r){return r.violations.map(function(v){
return {ID:v.id,Help:v.help,Nodes:v.nodes.slice(0,3).map(function(n){return n.html.slice(0,160)+" "+(n.failureSummary||"").slice(0,200)})}})})`, &found)
		for _, v := range found {
			t.Errorf("axe-core, colour scheme %s: %s: %s: %s", scheme, v.ID, v.Help, strings.Join(v.Nodes, " | "))
		}
	}
}
