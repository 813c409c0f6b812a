package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestALoopDeviceIsAttachedOnceGrownAndDetached(t *testing.T) {
	if err := loopMissing(); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := loopAttach(file, loopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	attached, err := loopFind(file)
	if err != nil || attached.Path != device {
		t.Fatalf("%+v, %v; want %s", attached, err, device)
	}
	t.Cleanup(func() { _ = loopDetach(attached) })
	if again, err := loopAttach(file, loopOptions{}); err != nil || again != device {
		t.Errorf("attached again as %s, %v; want %s", again, err, device)
	}
	if err := os.Truncate(file, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := loopGrow(device); err != nil {
		t.Fatal(err)
	}
	holder, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := holder.Seek(0, 2); err != nil || size != 2<<20 {
		t.Errorf("%d bytes, %v; want 2 MiB", size, err)
	}
	if err := loopDetach(attached); !errors.Is(err, unix.EBUSY) {
		t.Errorf("detaching what is held: %v", err)
	}
	holder.Close()

	// Whoever means another file has been overtaken: the number was given away.
	if err := loopDetach(loopDevice{Path: device, Backing: file + "-before"}); err != nil {
		t.Error(err)
	}
	if now, err := loopFind(file); err != nil || now.Path != device {
		t.Errorf("a detach of another file's device detached this one: %+v, %v", now, err)
	}

	// A new file of the same name is another file.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := loopFind(file); err != nil || found.Path != "" {
		t.Errorf("the new file is found at %+v, %v", found, err)
	}
	if err := loopDetach(attached); err != nil {
		t.Fatal(err)
	}
	if !loopWaitFree(attached, 5*time.Second) {
		t.Errorf("%s is not free after its detach", device)
	}
}

func TestLoopAttachNamesTheFileItCannotAttach(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	if _, err := loopAttach(missing, loopOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}
