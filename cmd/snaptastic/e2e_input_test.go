package main

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// bare is the binary with these arguments alone, in an environment without
// any AWS setting.
func (r *rig) bare(args ...string) *exec.Cmd {
	cmd := exec.Command(r.bin, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "TERM=dumb"}
	return cmd
}

// flagged is bare with the rig's state and sandbox.
func (r *rig) flagged(args ...string) *exec.Cmd {
	return r.bare(append([]string{"--state-dir", r.state(), "--sandbox=" + r.sandboxDir(), "--endpoint-url", r.url, "--yes"}, args...)...)
}

// Bad input ends in one clear sentence and the right exit code, and nothing
// is changed.
func TestBadInputIsOneSentenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	write := func(name, text string) string {
		p := filepath.Join(r.dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good, err := os.ReadFile(r.settings)
	if err != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, 10<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(garbage)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	loose := write("loose.hcl", string(good))
	if err := os.Chmod(loose, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		cmd     *exec.Cmd
		code    int
		message []string
		long    bool // a diagnostic with the source line, not one sentence
	}{
		{name: "no settings", cmd: r.bare("--state-dir", r.state(), "run", "mount", "db"), code: 2, message: []string{"settings", "--settings"}},
		{name: "settings that are not there", cmd: r.flagged("--settings", "/nowhere/s.hcl", "run", "mount", "db"), code: 2, message: []string{"/nowhere/s.hcl", "no such file"}},
		{name: "settings that are a folder", cmd: r.flagged("--settings", "/proc", "run", "mount", "db"), code: 2, message: []string{"/proc"}},
		{name: "settings that others may write", cmd: r.flagged("--settings", loose, "run", "mount", "db"), code: 2, message: []string{"loose.hcl", "root"}},
		{name: "settings of 10 MB of garbage", cmd: r.flagged("--settings", write("garbage.hcl", string(garbage)), "run", "mount", "db"), code: 2, message: []string{"garbage.hcl"}},
		{name: "settings of 10 MB of braces", cmd: r.flagged("--settings", write("braces.hcl", strings.Repeat("{[(", 3<<20)), "run", "mount", "db"), code: 2, message: []string{"braces.hcl"}},
		{name: "empty settings", cmd: r.flagged("--settings", write("empty.hcl", ""), "run", "mount", "db"), code: 2, message: []string{"db"}},
		{name: "typo in an attribute", cmd: r.flagged("--settings", write("typo.hcl", strings.Replace(string(good), "mount_point", "mont_point", 1)), "run", "mount", "db"), code: 2,
			message: []string{"mont_point", "mount_point", "typo.hcl", "line 4"}, long: true},
		{name: "unknown snapshotter", cmd: r.flagged("--settings", r.settings, "run", "mount", "solr"), code: 2, message: []string{`"solr"`, `"db"`}},
		{name: "userdata that is not JSON", cmd: r.flagged("--settings", write("ud.hcl", strings.Replace(string(good), `"db" }`, `userdata.role }`, 1)), "--userdata", "{role: db", "run", "mount", "db"), code: 2,
			message: []string{"ud.hcl", "line 2", "userdata", "JSON"}, long: true},
		{name: "userdata that is not JSON and not needed", cmd: r.flagged("--settings", r.settings, "--userdata", "{role: db", "run", "mount", "db"), code: 2, message: []string{"--userdata is not JSON", "at byte 2"}},
		{name: "userdata file that is not there", cmd: r.flagged("--settings", r.settings, "--userdata", "@/nowhere/userdata", "run", "mount", "db"), code: 2, message: []string{"/nowhere/userdata"}},
		{name: "endpoint down", cmd: r.bare("--state-dir", r.state(), "--settings", r.settings, "--region", "eu-west-1", "--endpoint-url", closed, "--metadata-url", closed, "run", "mount", "db", "--patience", "0s"), code: 1,
			message: []string{closed[len("http://"):], "refused"}},
		{name: "endpoint that is no URL", cmd: r.bare("--state-dir", r.state(), "--settings", r.settings, "--endpoint-url", "::", "run", "mount", "db"), message: []string{"::"}, code: 2},
		{name: "state directory that is a file", cmd: r.bare("--state-dir", r.settings, "--sandbox="+r.sandboxDir(), "--endpoint-url", r.url, "--settings", r.settings, "run", "mount", "db"), code: 1,
			message: []string{"snaptastic.hcl", "--state-dir"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt := *r
			rt.t = t
			rt.quiet(func() {
				code, stdout, stderr := rt.apart(tt.cmd)
				if code != tt.code {
					t.Errorf("exit %d, want %d", code, tt.code)
				}
				if stdout != "" {
					t.Errorf("stdout: %s", stdout)
				}
				if !tt.long {
					oneSentence(t, stderr)
				}
				for _, s := range tt.message {
					if !strings.Contains(stderr, s) {
						t.Errorf("it does not say %q", s)
					}
				}
				t.Logf("it says: %.600s", stderr)
			})
		})
	}
}

// Without credentials EC2 cannot be asked, and that is what is said; likewise
// where metadata must not be asked.
func TestMissingCredentialsAreReported(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	// Metadata answers, except for the role's credentials: the instance has none.
	to, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	// Without X-Forwarded-For, at which IMDSv2 answers 403.
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "security-credentials") {
			http.NotFound(w, q)
			return
		}
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	r.quiet(func() {
		code, _, stderr := r.apart(r.bare("--state-dir", r.state(), "--settings", r.settings, "--log-level", "off", "--endpoint-url", server.URL, "--metadata-url", server.URL, "run", "mount", "db", "--patience", "2s"))
		if code != 1 || !strings.Contains(stderr, "no usable AWS credentials") || !strings.Contains(stderr, "attach a role") {
			t.Errorf("exit %d", code)
		}
		oneSentence(t, stderr)
		t.Logf("it says: %s", stderr)
	})
	r.quiet(func() {
		cmd := r.bare("--state-dir", r.state(), "--settings", r.settings, "--log-level", "off", "--endpoint-url", r.url, "run", "mount", "db", "--patience", "2s")
		cmd.Env = append(cmd.Env, "AWS_EC2_METADATA_DISABLED=true")
		code, _, stderr := r.apart(cmd)
		if code != 1 || !strings.Contains(stderr, "AWS_EC2_METADATA_DISABLED disables") {
			t.Errorf("exit %d", code)
		}
		oneSentence(t, stderr)
		t.Logf("it says: %s", stderr)
	})
}

// Who is not root may look and may not touch.
func TestNotRootIsRefused(t *testing.T) {
	r := newRig(t, 1, "ext4")
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The test binary lies in a folder of root's own.
	bin := filepath.Join(r.dir, "copy", "snaptastic")
	tool(t, "install", "-D", "-m", "0755", r.bin, bin)
	for _, args := range [][]string{{"run", "mount", "db"}, {"run", "snapshot", "db"}, {"run", "unmount", "db"}, {"resume"}, {"rollback", "x"}, {"thaw", "/"}} {
		r.quiet(func() {
			cmd := r.flagged(append([]string{"--settings", r.settings}, args...)...)
			cmd.Path = bin
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			code, _, stderr := r.apart(cmd)
			if code != 1 || !strings.Contains(stderr, "root") {
				t.Errorf("%v: exit %d", args, code)
			}
			oneSentence(t, stderr)
		})
	}
}

// Copies touch nothing of the machine: a fleet's control makes them without root.
func TestACopyNeedsNoRoot(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.copying(`  copy "eu-central-1" {}`)
	r.must("run", "mount", "db")
	r.must("run", "snapshot", "db", "--wait")
	bin, state := filepath.Join(r.dir, "copy", "snaptastic"), filepath.Join(r.dir, "others-state")
	tool(t, "install", "-D", "-m", "0755", r.bin, bin)
	tool(t, "install", "-d", "-o", "65534", "-g", "65534", state)
	for path, mode := range map[string]os.FileMode{r.dir: 0o755, r.settings: 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := r.bare("--settings", r.settings, "--state-dir", state, "--endpoint-url", r.url, "--metadata-url", r.url, "--yes", "run", "copy", "db")
	cmd.Path = bin
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if code, _, stderr := r.apart(cmd); code != 0 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if n := r.wholeSets(frankfurt); n != 1 {
		t.Errorf("%d sets are copied, want 1", n)
	}
}

// The sandbox inside the program needs root for its devices, and says no more
// than that.
func TestTheSandboxWithoutRootReportsWhatIsMissing(t *testing.T) {
	r := newRig(t, 1, "ext4")
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(r.settings, 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(r.dir, "copy", "snaptastic")
	tool(t, "install", "-D", "-m", "0755", r.bin, bin)
	cmd := r.bare("--settings", r.settings, "--sandbox="+filepath.Join(t.TempDir(), "s"), "plan", "mount", "db")
	cmd.Path = bin
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	code, _, stderr := r.apart(cmd)
	if code != 1 || !strings.Contains(stderr, "loop devices need root") || strings.Count(stderr, "cannot") != 1 {
		t.Errorf("exit %d:\n%s", code, stderr)
	}
	oneSentence(t, stderr)
}

// A state directory that cannot be written, or has no room, is refused before
// the first effect.
func TestStateThatCannotBeWrittenIsRefusedBeforeTheFirstEffect(t *testing.T) {
	for _, tt := range []struct {
		name, options string
		full          bool
	}{
		{"read-only", "size=1m,mode=0700,ro", false},
		{"full", "size=64k,mode=0700", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, 1, "ext4")
			if err := os.MkdirAll(r.state(), 0o700); err != nil {
				t.Fatal(err)
			}
			tool(t, "mount", "-t", "tmpfs", "-o", tt.options, "tmpfs", r.state())
			t.Cleanup(func() { _ = unix.Unmount(r.state(), 0) })
			if tt.full {
				f, err := os.Create(filepath.Join(r.state(), "ballast"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for {
					if _, err := f.Write(make([]byte, 4096)); err != nil {
						break
					}
				}
			}
			r.quiet(func() {
				code, _, stderr := r.apart(r.command("run", "mount", "db"))
				if code != 1 {
					t.Errorf("exit %d", code)
				}
				oneSentence(t, stderr)
				t.Logf("it says: %s", stderr)
			})
			if len(r.mounted()) > 0 {
				t.Errorf("mounted are %v", r.mounted())
			}
		})
	}
}

// The disk fills up in the middle: the run stops where it is, says so, and is
// finished once there is room.
func TestADiskThatFillsUpStopsTheRunAndResumeFinishesIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4", "--create-time=1500ms")
	if err := os.MkdirAll(r.state(), 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", r.state())
	t.Cleanup(func() { _ = unix.Unmount(r.state(), 0) })
	cmd := r.command("run", "mount", "db")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.await("CreateVolume")
	ballast := filepath.Join(r.state(), "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	_ = cmd.Wait()
	t.Logf("exit %d\n%s", cmd.ProcessState.ExitCode(), out.String())
	plain(t, out.String())
	if code := cmd.ProcessState.ExitCode(); code != 0 { // bbolt may have had the room already
		if !strings.Contains(out.String(), "no space left") {
			t.Error("it does not say why")
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		r.must("resume")
	}
	if len(r.mounted()) != 1 || len(r.volumes()) != 1 {
		t.Errorf("mounted are %v, volumes %v", r.mounted(), r.volumes())
	}
	if n := count(r.calls())["CreateVolume"]; n != 1 {
		t.Errorf("%d CreateVolume", n)
	}
}

// A closed or broken stdout or stderr is no reason to stop a run over
// somebody's data.
func TestClosedOutputsDoNotStopARun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	shell := func(redirect string, args ...string) int {
		full := append([]string{"-c", `exec "$@" ` + redirect, "sh"}, r.command(args...).Args...)
		cmd := exec.Command("sh", full...)
		cmd.Env = r.env
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	for _, step := range [][]string{{">&-", "run", "mount", "db"}, {"2>&-", "run", "snapshot", "db"}, {">&- 2>&- <&-", "run", "snapshot", "db"},
		{">/dev/full", "run", "unmount", "db"}, {">/dev/full 2>/dev/full", "run", "mount", "db"}} {
		if code := shell(step[0], step[1:]...); code != 0 {
			t.Errorf("%v: exit %d", step, code)
		}
	}
	// A reader that went away: EPIPE.
	for _, args := range [][]string{{"run", "snapshot", "db"}, {"run", "unmount", "db"}} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
		cmd := r.command(args...)
		cmd.Stdout, cmd.Stderr = out, out
		_ = cmd.Run()
		_ = out.Close()
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%v into a closed pipe: exit %d", args, code)
		}
	}
	if len(r.mounted()) != 0 || len(r.snapshots()) != 3 {
		t.Errorf("mounted are %v, and there are %d snapshots", r.mounted(), len(r.snapshots()))
	}
	if left := r.unfinished(); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	// What is asked for to be read is another matter: nobody got it.
	if code := shell(">/dev/full", "runs"); code != 1 {
		t.Errorf("runs to a full device: exit %d", code)
	}
}

// What a settings file says wins over nothing that is declared to be wrong:
// each mistake names its file and line.
func TestASettingsMistakeNamesFileAndLine(t *testing.T) {
	r := newRig(t, 1, "ext4")
	for wrong, says := range map[string]string{
		`mount_point = "data"`:                            "absolute",
		`mount_point = "/"`:                               "root",
		`mount_point = 7` + "\n" + `size = "big"`:         "size",
		`mount_point = "/x"` + "\n" + `size = 0`:          "size",
		`mount_point = "/x"` + "\n" + `file_system="fat"`: "ext4",
		`mount_point = userdata.nope`:                     "nope",
	} {
		path := filepath.Join(r.dir, "wrong.hcl")
		text := "snapshotter \"db\" {\n filter_tags = { role = \"db\" }\n volume \"/dev/sdf\" {\n" + wrong + "\n }\n}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.quiet(func() {
			code, _, stderr := r.apart(r.flagged("--settings", path, "--userdata", "{}", "run", "mount", "db"))
			if code != 2 {
				t.Errorf("%s: exit %d", wrong, code)
			}
			for _, s := range []string{"wrong.hcl", "line ", says} {
				if !strings.Contains(stderr, s) {
					t.Errorf("%s: it does not say %q:\n%s", wrong, s, stderr)
				}
			}
		})
	}
}
