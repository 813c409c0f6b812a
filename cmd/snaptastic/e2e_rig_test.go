package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/sandbox"
)

// apart runs a command and returns its two outputs apart.
func (r *rig) apart(cmd *exec.Cmd) (code int, stdout, stderr string) {
	r.t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	e := cmd.Run()
	var exit *exec.ExitError
	if e != nil && !errors.As(e, &exit) {
		r.t.Fatalf("%v: %v", cmd.Args, e)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	plain(r.t, out.String()+err.String())
	return code, out.String(), err.String()
}

// plain fails when a text says what only a Go programmer reads.
func plain(t *testing.T, text string) {
	t.Helper()
	for _, goism := range []string{"goroutine ", "panic:", "<nil>", "%!", "&{", "map[", "context canceled", "context deadline exceeded", "operation error", "json: ", "https response error"} {
		if strings.Contains(text, goism) {
			t.Errorf("the output says %q, which tells an operator nothing:\n%s", goism, text)
		}
	}
}

// oneSentence fails unless stderr is one error line, with at most a hint.
func oneSentence(t *testing.T, stderr string) {
	t.Helper()
	var errs int
	for line := range strings.Lines(stderr) {
		switch {
		case strings.HasPrefix(line, "error: "):
			errs++
			if len(line) > 400 {
				t.Errorf("the error has %d characters:\n%s", len(line), line)
			}
		case !strings.HasPrefix(line, "  "):
			t.Errorf("neither an error nor its hint: %s", line)
		}
	}
	if errs != 1 {
		t.Errorf("%d error lines, want 1:\n%s", errs, stderr)
	}
}

// declare replaces the rig's settings.
func (r *rig) declare(hcl string) {
	r.t.Helper()
	if err := os.WriteFile(r.settings, []byte(hcl), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// volume is one volume of the settings.
func (r *rig) volume(i int, fileSystem string) string {
	return fmt.Sprintf("  volume \"/dev/sd%c\" {\n    mount_point = %q\n    size = 1\n    file_system = %q\n  }\n", 'f'+i, r.mounts[i], fileSystem)
}

// calls are those that the sandbox has answered.
func (r *rig) calls() []sandbox.Call {
	r.t.Helper()
	all, err := sandbox.Log(r.sandboxDir())
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// quiet runs f and fails when it led to a call that changes something, or to
// a journal.
func (r *rig) quiet(f func()) {
	r.t.Helper()
	before, runs := len(r.calls()), r.journals()
	f()
	if did := mutating(r.calls()[before:]); len(did) > 0 {
		r.t.Errorf("it made %v", did)
	}
	if now := r.journals(); len(now) != len(runs) {
		r.t.Errorf("it left the journals %v, there were %v", now, runs)
	}
}

func (r *rig) journals() []string {
	found, _ := filepath.Glob(filepath.Join(r.state(), "runs", "*.db"))
	return found
}

// openSandbox opens the sandbox beside the process that serves it.
func (r *rig) openSandbox() *sandbox.Sandbox {
	r.t.Helper()
	w, err := sandbox.Open(sandbox.Config{Dir: r.sandboxDir()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = w.Close() })
	return w
}

// node is the loop device of an attached volume.
func (r *rig) node(volume string) string {
	r.t.Helper()
	link := filepath.Join(sandbox.RootsOf(r.sandboxDir()).Dev, "disk", "by-id", "nvme-Amazon_Elastic_Block_Store_"+strings.Replace(volume, "-", "", 1))
	p, err := filepath.EvalSymlinks(link)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// volumes are those of the snapshotter, by mount point.
func (r *rig) volumes() map[string]ec2.Volume {
	r.t.Helper()
	vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]ec2.Volume{}
	for _, v := range vs {
		out[v.Tags["mount_point"]] = v
	}
	return out
}

func (r *rig) snapshots() []ec2.Snapshot {
	r.t.Helper()
	s, err := r.client.Snapshots(context.Background(), ec2.SnapshotQuery{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// lose unmounts all volumes of the rig and deletes them.
func (r *rig) lose() {
	r.t.Helper()
	r.must("run", "unmount", "db")
	r.deleteDetached()
}

// sum is a hash of a file's or device's content.
func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// tool runs a program that must succeed; the test is skipped where it is not
// installed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// entries walks a tree, without what mkfs itself puts there.
func entries(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "lost+found" {
			return fs.SkipDir
		}
		out = append(out, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// await waits until the sandbox has answered a call of this action.
func (r *rig) await(action string) {
	r.t.Helper()
	r.eventually("a call of "+action, func() bool { return count(r.calls())[action] > 0 })
}

// eventually waits for what other processes do.
func (r *rig) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("there was no %s for a minute", what)
		}
	}
}
