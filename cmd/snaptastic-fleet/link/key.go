package link

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"snaptastic-fleet/config"
)

const (
	keyBytes    = 32
	mostPrinted = 4096             // bytes of what a key command prints
	keyTime     = 30 * time.Second // that it may take
)

const oneForAll = "Copy the file of another machine of the fleet, or make a key for all of them: (umask 077; snaptastic-fleet key > FILE)"

// A CommandError is a key command that failed. It may succeed later: at boot there may be no network yet.
type CommandError struct{ error }

func (e CommandError) Unwrap() error { return e.error }

// NewKey returns a new key as its file holds it.
func NewKey() string {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails: crypto/rand
	return base64.StdEncoding.EncodeToString(key) + "\n"
}

// readKey reads a key: 32 bytes in base64, in a file that only its owner may read, or printed by a program.
func readKey(ctx context.Context, k config.Key) ([]byte, error) {
	if len(k.Command) > 0 {
		return printedKey(ctx, keyTime, k.Command)
	}
	file := secret(k.File)
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w. %s", err, oneForAll)
	}
	if st := info.Sys().(*syscall.Stat_t); file == k.File && info.Mode().Perm()&0o077 != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("others may read the key: chmod 600 %s", k.File)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	key := decoded(text)
	if key == nil {
		return nil, fmt.Errorf("%s is not %d bytes in base64. %s", k.File, keyBytes, oneForAll)
	}
	return key, nil
}

// secret is where a file of fleet.hcl is to be read: systemd hands those that the unit's user may not read over by their
// names, in a folder for this unit alone (systemd.exec(5), LoadCredential=). Their modes show what ACLs allow, not who may read.
func secret(file string) string {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if handed := filepath.Join(dir, filepath.Base(file)); exists(handed) {
			return handed
		}
	}
	return file
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// decoded is the key in a text; nil if it is none.
func decoded(text []byte) []byte {
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keyBytes {
		return nil
	}
	return key
}

// printedKey runs a program for the key. What it prints, on stdout or stderr, is in no error and in no log.
func printedKey(ctx context.Context, limit time.Duration, command []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out := &limited{}
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stdout = out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err := c.Run()
	key := decoded(out.text)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it took longer than %s", limit)
	case out.over:
		err = errors.New("it prints more than a key")
	case err == nil && key == nil:
		err = fmt.Errorf("it did not print %d bytes in base64 and nothing else", keyBytes)
	case err == nil:
		return key, nil
	}
	return nil, CommandError{fmt.Errorf("the program for the key, %s, has failed: %w. Run it as this user to see why; what it prints is not logged", command[0], err)}
}

// limited keeps the beginning of what is written, and fails beyond what a key may have.
type limited struct {
	text []byte
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	if len(l.text)+len(b) > mostPrinted {
		l.over = true
		return 0, io.ErrShortWrite
	}
	l.text = append(l.text, b...)
	return len(b), nil
}
