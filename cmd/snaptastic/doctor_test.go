package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Without root and without settings the doctor says what it could not look
// at, and looks at the rest.
func TestDoctorWorksForAnybody(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	bin, state := filepath.Join(dir, "snaptastic"), filepath.Join(dir, "state")
	if err := os.WriteFile(bin, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(state, "runs"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--state-dir", state, "--endpoint-url", "http://127.0.0.1:1", "--region", "eu-west-1", "doctor")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TERM=dumb", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("it ended with %v, want exit code 1: nobody answers\n%s", err, log.String())
	}
	for _, want := range []string{
		"warn  root ", "warn  settings ", "fail  metadata ", "ok    region ", "fail  credentials ",
		"warn  permissions ", "warn  clock ", "warn  state directory ", "warn  journal ", "warn  frozen ", "warn  freeze guard ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if log.Len() > 0 {
		t.Errorf("it logs: %s", log.String())
	}
}
