package link

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic-fleet/config"
)

// program writes a shell script and returns it as a key command.
func program(t *testing.T, body string) []string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{p}
}

func TestAProgramPrintsTheKey(t *testing.T) {
	key := NewKey()
	sealed, err := codec(t, keyFile(t, key)).Encode(nil)
	if err != nil || len(sealed) != 0 {
		t.Fatal(sealed, err)
	}
	for _, body := range []string{"echo " + key, "printf %s '" + strings.TrimSpace(key) + "'", "printf '%s\\r\\n\\n' '" + strings.TrimSpace(key) + "'", "echo chatter >&2; echo " + key} {
		got, err := readKey(t.Context(), config.Key{Command: program(t, body)})
		if err != nil || string(got) != string(decoded([]byte(key))) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// Control runs as a user that cannot read root's files: systemd hands them over, readable by an ACL that looks like a group's right.
func TestFilesThatSystemdHandsOverAreRead(t *testing.T) {
	dir, key := t.TempDir(), NewKey()
	file := filepath.Join(dir, "fleet.key")
	if err := os.WriteFile(file, []byte(key), 0o440); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	got, err := readKey(t.Context(), config.Key{File: "/nonexistent/fleet.key"})
	if err != nil || string(got) != string(decoded([]byte(key))) {
		t.Errorf("%v", err)
	}
	if got := secret("/etc/snaptastic/other.key"); got != "/etc/snaptastic/other.key" {
		t.Errorf("a file that is not handed over is read from %s", got)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := readKey(t.Context(), config.Key{File: file}); err == nil {
		t.Error("a key that a group may read is taken")
	}
}

// What a program for the key prints is a secret, or may be: it is in no error.
func TestAProgramThatFailsIsNamedAndNotQuoted(t *testing.T) {
	const secret = "c2VjcmV0"
	for body, want := range map[string]string{
		"echo " + secret + "; echo " + secret + " >&2; exit 3": "exit status 3",
		"echo " + secret: "did not print 32 bytes in base64",
		"echo '" + strings.TrimSpace(NewKey()) + "'; echo " + secret:       "did not print 32 bytes in base64",
		"while echo " + secret + secret + secret + secret + "; do :; done": "more than a key",
		"exit 0": "did not print 32 bytes",
	} {
		_, err := readKey(t.Context(), config.Key{Command: program(t, body)})
		var later CommandError
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) || !errors.As(err, &later) {
			t.Errorf("%.60s: %v, want %q", body, err, want)
		}
	}
	if _, err := readKey(t.Context(), config.Key{Command: []string{"/nonexistent/aws"}}); err == nil || !strings.Contains(err.Error(), "/nonexistent/aws") {
		t.Errorf("%v", err)
	}
}

// A program that hangs is ended, with what it has started.
func TestAProgramThatHangsIsEnded(t *testing.T) {
	began := time.Now()
	_, err := printedKey(t.Context(), 500*time.Millisecond, program(t, "sleep 600 & sleep 600"))
	if err == nil || !strings.Contains(err.Error(), "took longer than 500ms") || time.Since(began) > time.Minute {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := printedKey(ctx, time.Minute, program(t, "sleep 600")); err == nil {
		t.Error("it was not stopped")
	}
}
