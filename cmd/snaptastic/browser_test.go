package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chromium is a browser without a window; the test is skipped where there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs Chromium (Debian package chromium)")
	return ""
}

// look opens a page in the browser and returns what a script that runs in it hands to done(value).
func look[T any](t *testing.T, page []byte, script string, flags ...string) (found T) {
	t.Helper()
	const probe = `<script>"use strict";function done(v){var o=document.createElement("textarea");o.id="probed";o.textContent=JSON.stringify(v);document.body.appendChild(o)}
addEventListener("load",function(){%s});</script>`
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)
	bare := policy.ReplaceAll(page, nil) // it would keep the probe out as well
	if len(bare) == len(page) {
		t.Fatal("the page has no content security policy")
	}
	probed := bytes.Replace(bare, []byte("</body>"), fmt.Appendf(nil, probe, script), 1)
	dom := browse(t, map[string][]byte{"/": probed}, flags...)
	_, rest, ok := strings.Cut(dom, `<textarea id="probed">`)
	value, _, closed := strings.Cut(rest, "</textarea>")
	if !ok || !closed {
		t.Fatalf("the probe said nothing; the page ends with %q", dom[max(0, len(dom)-300):])
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(value)), &found); err != nil {
		t.Fatalf("%v in %.300s", err, value)
	}
	return found
}

// browse opens "/" of a server with these files, and returns the document as it is then. What is asked for beyond them fails
// the test: a report needs nothing else.
func browse(t *testing.T, files map[string][]byte, flags ...string) string {
	t.Helper()
	browser := chromium(t)
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
	defer server.Close()
	return open(t, browser, server.URL, append([]string{"--virtual-time-budget=20000"}, flags...)...)
}

// firstPaint is how many milliseconds after the page was asked for something of it was seen.
func firstPaint(t *testing.T, page []byte) (ms int) {
	t.Helper()
	browser := chromium(t)
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)
	const probe = `<img src="/later" alt=""><script>addEventListener("load",function(){var p=performance.getEntriesByName("first-contentful-paint")[0];document.title="painted "+(p?Math.round(p.startTime):-1)})</script></body>`
	page = bytes.Replace(policy.ReplaceAll(page, nil), []byte("</body>"), []byte(probe), 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/later" { // the load event, at which the document is written out, waits for it
			time.Sleep(4 * time.Second)
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(page)
	}))
	defer server.Close()
	dom := open(t, browser, server.URL)
	if _, err := fmt.Sscanf(dom[strings.Index(dom, "<title>")+len("<title>"):], "painted %d", &ms); err != nil {
		t.Fatalf("the page does not tell when it was painted: %.300s", dom)
	}
	return ms
}

// open returns the document at a URL as the browser has it.
func open(t *testing.T, browser, url string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(), "--window-size=1400,1000",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-background-networking", "--disable-component-update", "--no-first-run",
		"--dump-dom"}, flags...)
	cmd := exec.CommandContext(ctx, browser, append(args, url+"/")...)
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(out)
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
	for _, scheme := range []string{"1", "0"} { // light, dark: blink::mojom::PreferredColorScheme
		found := look[[]violation](t, page, script+`
document.querySelectorAll("details").forEach(function(d){d.open=true});
axe.run(document,{resultTypes:["violations"]}).then(function(r){done(r.violations.map(function(v){
return {ID:v.id,Help:v.help,Nodes:v.nodes.slice(0,3).map(function(n){return n.html.slice(0,160)+" "+(n.failureSummary||"").slice(0,200)})}}))},function(e){done([{ID:"error",Help:String(e)}])});`,
			"--blink-settings=preferredColorScheme="+scheme)
		for _, v := range found {
			t.Errorf("axe-core, colour scheme %s: %s: %s: %s", scheme, v.ID, v.Help, strings.Join(v.Nodes, " | "))
		}
	}
}
