package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a probe sees: the restored volumes, writable, where they belong; nothing of the live system; and nobody else sees what it writes.
func TestProbeIsolateShowsTheRestoredVolumesAlone(t *testing.T) {
	for _, fileSystem := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fileSystem, func(t *testing.T) {
			r := newProbeRig(t, "nobody", fileSystem, []string{"with space", "with space/below"})
			r.env = append(r.env, "LIFE="+r.life[0], "BELOW="+r.life[1], "RUN="+r.dir+"/run")
			r.sh(`echo restored | tee "$LIFE/file" >"$BELOW/file"`)
			images := r.copies()
			r.sh(`echo live | tee "$LIFE/file" >"$BELOW/file"; fsfreeze -f "$LIFE"; fsfreeze -u "$LIFE"`)
			if fileSystem == "btrfs" {
				r.leave() // btrfs does not mount twins
			}
			r.drill(images, nil)
			out := r.sound("isolate", "/bin/sh", "-c", `
				grep -qx restored "$LIFE/file" && grep -qx restored "$BELOW/file" || { echo not restored; exit 1; }
				echo written >"$LIFE/file" || exit 1
				for f in "$RUN" /var/lib /sys/kernel /dev/loop-control /root/.; do [ ! -e "$f" ] || { echo "sees $f"; exit 1; }; done
				for d in /etc /usr /opt; do ! touch "$d/written" 2>/dev/null || { echo "writes to $d"; exit 1; }; done
				[ $$ = 1 ] && [ "$(ls -d /proc/[1-9]* | wc -l)" -lt 5 ] || { echo sees processes; exit 1; }
				grep -v ' lo:' /proc/net/dev | grep : && { echo has a network; exit 1; }
				[ "$(cat /proc/self/oom_score_adj)" = 800 ] || exit 1
				setsid sleep 1000 & # ends with it
				echo all well`)
			if !strings.Contains(out, "all well") {
				t.Error(out)
			}
			if fileSystem != "btrfs" {
				if got := r.sh(`cat "$LIFE/file" "$BELOW/file"`); got != "live\nlive" {
					t.Errorf("the live files say %q", got)
				}
			}
		})
	}
}

// What is writable may be live, and what is not mounted is not a volume.
func TestProbeIsolateRefusesWhatMayBeLive(t *testing.T) {
	r := newProbeRig(t, "nobody", "ext4", []string{"data"})
	images := r.copies()
	r.drill(images, nil)
	restored := filepath.Join(r.root, r.life[0])
	r.sh("mount -o remount,rw %s", restored)
	r.refuses("is mounted writable: it may not be a scratch volume", "/bin/true")
	r.sh("mount -o remount,ro %s", restored)
	if code, _, out := r.probe("isolate", "/bin/false"); code != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	r.refuses("not-there: not found", "not-there")
	lock := r.sh("(flock -n 9 && sleep 1000 >/dev/null 2>&1 & echo $!) 9<%s", r.root)
	r.refuses("another probe is running", "/bin/true")
	r.sh("kill %s; pkill -P %s || :", lock, lock)
	root := r.root
	r.root = "/"
	r.refuses("the live system", "/bin/true")
	r.root = r.dir + "/run"
	r.refuses("no volume is mounted below", "/bin/true")
	r.root = root
	if _, err := os.Stat(restored + "/written"); err == nil {
		t.Error("it wrote")
	}
}

// A probe keeps no live file system busy: not while it runs, and not while it is set up.
func TestProbeIsolateKeepsNoLiveVolumeBusy(t *testing.T) {
	r := newProbeRig(t, "nobody", "ext4", []string{"data"})
	images := r.copies()
	// mktemp is the first command after unneeded mounts were dropped.
	r.sh("mkdir shim; printf '#!/bin/sh\\n[ ! -e %s/wait ] || { : >%s/reached; while [ -e %s/wait ]; do sleep 0.05; done; }\\nexec /usr/bin/mktemp \"$@\"\\n' >shim/mktemp; chmod +x shim/mktemp", r.dir, r.dir, r.dir)
	r.env = append(r.env, "PATH="+r.dir+"/shim:"+os.Getenv("PATH"))
	for _, when := range []string{"set up", "running"} {
		t.Run(when, func(t *testing.T) {
			r.t = t
			r.drill(images, nil)
			r.sh("truncate -s 40M other; mkfs.ext4 -q other")
			other := filepath.Join(r.dir, "an other")
			r.mount(r.dir+"/other", other, "rw")
			device := r.sh("findmnt -n -o SOURCE '%s'", other)
			r.sh("rm -f reached wait; [ '%s' = running ] || : >wait", when)
			cmd := r.command("isolate", "/bin/sh", "-c", "echo reached; sleep 1000")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if when == "running" {
				if _, err := out.Read(make([]byte, 8)); err != nil {
					t.Fatal(err)
				}
			} else {
				r.sh("timeout 60 sh -c 'until [ -e reached ]; do sleep 0.05; done'")
			}
			r.sh("umount '%s'", other)
			if f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0); err != nil {
				t.Errorf("the probe keeps the volume busy: %v", err)
			} else {
				_ = f.Close()
			}
			r.sh("rm -f wait")
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
			r.takeDown()
		})
	}
	r.t = t
}

func (r *probeRig) refuses(want string, args ...string) {
	r.t.Helper()
	if code, reason, out := r.probe("isolate", args...); code != 1 || !strings.Contains(reason, want) {
		r.t.Errorf("exit code %d, want %q\n%s", code, want, out)
	}
}

// leave unmounts the live volumes.
func (r *probeRig) leave() {
	r.t.Helper()
	for i := len(r.life) - 1; i >= 0; i-- {
		r.unmount(r.life[i])
	}
}
