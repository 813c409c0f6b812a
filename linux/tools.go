package linux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Tool is a program and the package that most distributions ship it in.
type Tool struct{ Command, Package string }

// MissingTools lists the programs that Format would need for the file system and does not find.
func MissingTools(fileSystem string) []Tool {
	var missing []Tool
	known, _ := fileSystemOf(fileSystem)
	for _, t := range known.tools {
		if _, err := findTool(t.Command); err != nil {
			missing = append(missing, t)
		}
	}
	return missing
}

// findTool looks in PATH, and where system programs are: cron and systemd units often leave /sbin out.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// KernelSupports reports whether the running kernel can mount the file system: it knows it already or has a module for it.
func KernelSupports(fileSystem string) bool {
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(known)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == fileSystem {
			return true
		}
	}
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return false
	}
	modules := filepath.Join("/lib/modules", unix.ByteSliceToString(uts.Release[:]))
	module := fileSystem
	if f, _ := fileSystemOf(fileSystem); f.module != "" {
		module = f.module
	}
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		b, err := os.ReadFile(filepath.Join(modules, list))
		if err == nil && strings.Contains(string(b), "/"+module+".ko") {
			return true
		}
	}
	return false
}
