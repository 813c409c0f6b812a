package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A restore happens once under its key: what is written after it is kept, however often it is asked for, and one that was killed is finished.
func TestARestoreHappensOnceUnderItsKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	file := filepath.Join(r.mounts[0], "text")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("the file holds %q, want %q: %v", got, want, err)
		}
	}
	write("snapshotted")
	r.must("run", "snapshot", "db")
	restore := func(key string) []string {
		return []string{"run", "restore", "db", "--set", r.onlySet(), "--key", key, "--yes"}
	}
	write("later")
	code, first, stderr := r.keyed(restore("K1")...)
	if code != 0 || first.Repeated || first.Key != "K1" {
		t.Fatalf("exit %d, %+v\n%s", code, first, stderr)
	}
	holds("snapshotted")
	write("after the restore")
	r.quiet(func() {
		code, again, stderr := r.keyed(restore("K1")...)
		if code != 0 || !again.Repeated || again.Run != first.Run || again.Outcome != "done" {
			t.Errorf("exit %d, %+v, want %+v\n%s", code, again, first, stderr)
		}
	})
	holds("after the restore")

	r.hang("AttachVolume", 10*time.Second, "before")
	r.killInStep("attach", restore("K2")...)
	r.calm()
	made, run := r.made(), r.unfinished()
	code, second, stderr := r.keyed(restore("K2")...)
	if code != 0 || len(run) != 1 || second.Run != run[0] || second.Repeated || r.made() != made {
		t.Errorf("after a kill: exit %d, %+v, unfinished was %v, %d volumes were made again\n%s", code, second, run, r.made()-made, stderr)
	}
	holds("snapshotted")
	r.quiet(func() {
		if code, again, _ := r.keyed(restore("K2")...); code != 0 || !again.Repeated || again.Run != second.Run {
			t.Errorf("after it was resumed: exit %d, %+v", code, again)
		}
	})
}

// onlySet is the identity of the set that there is.
func (r *rig) onlySet() string {
	r.t.Helper()
	_, out, stderr := r.apart(r.command("snapshots", "db", "-o", "json"))
	var list struct {
		Snapshots []struct{ Set string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Snapshots) != 1 {
		r.t.Fatalf("%v %s%s", err, out, stderr)
	}
	return list.Snapshots[0].Set
}
