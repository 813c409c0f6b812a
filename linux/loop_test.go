package linux_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/linux"
)

func TestALoopDeviceIsAttachedOnceGrownAndDetached(t *testing.T) {
	if err := linux.LoopMissing(); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := linux.LoopAttach(file, linux.LoopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { linux.LoopDetach(device) })
	if again, err := linux.LoopAttach(file, linux.LoopOptions{}); err != nil || again != device {
		t.Errorf("attached again as %s, %v; want %s", again, err, device)
	}
	if err := os.Truncate(file, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := linux.LoopGrow(device); err != nil {
		t.Fatal(err)
	}
	holder, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := holder.Seek(0, 2); err != nil || size != 2<<20 {
		t.Errorf("%d bytes, %v; want 2 MiB", size, err)
	}
	if err := linux.LoopDetach(device); !errors.Is(err, unix.EBUSY) {
		t.Errorf("detaching what is held: %v", err)
	}
	holder.Close()

	// A new file of the same name is another file.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := linux.LoopFind(file); err != nil || found != "" {
		t.Errorf("the new file is found at %q, %v", found, err)
	}
	if err := linux.LoopDetach(device); err != nil {
		t.Fatal(err)
	}
	if !linux.LoopWaitFree(device, 5*time.Second) {
		t.Errorf("%s is not free after its detach", device)
	}
}

func TestLoopAttachNamesTheFileItCannotAttach(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	if _, err := linux.LoopAttach(missing, linux.LoopOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}
