package linux

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	runAsHookRunner()
	inOwnNamespace()
	os.Exit(m.Run())
}

// inOwnNamespace starts these tests again in a mount namespace without the mounts of other packages' tests. Here namespaces
// are made that copy all mounts there are, and whoever unmounts one of them elsewhere would be told that it is in use.
func inOwnNamespace() {
	const mark = "SNAPTASTIC_TEST_NAMESPACE"
	if os.Geteuid() != 0 || os.Getenv(mark) != "" {
		return
	}
	runtime.LockOSThread() // the namespace is this thread's until it becomes the process
	if unix.Unshare(unix.CLONE_NEWNS) != nil {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		panic(err)
	}
	others, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(i.Mountpoint, "/tmp/") && !strings.HasPrefix(i.Mountpoint, "/var/tmp/"), false
	})
	if err != nil {
		panic(err)
	}
	for _, o := range others {
		_ = unix.Unmount(o.Mountpoint, unix.MNT_DETACH)
	}
	panic(syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), mark+"=1")))
}
