package guard

import (
	"context"
	"os"
	"testing"
)

// Left tells of dead runs apart from live ones, and changes nothing.
func TestListFrozenNamesWhatADeadRunMayHaveFrozen(t *testing.T) {
	dir := t.TempDir()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	self, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dead := identity{PID: 1 << 22, Start: 1}
	write := func(run, boot string, parent identity) *ownedFile {
		o, err := createOwned(dir, run, "s")
		if err != nil {
			t.Fatal(err)
		}
		if err := o.write(ownedRecord{Schema: ownedSchema, Run: run, Section: "s", Boot: boot, Parent: parent, Guard: dead, Mounts: []ownedMount{{Path: "/mnt/" + run, Dev: "0:0"}}}); err != nil {
			t.Fatal(err)
		}
		return o
	}
	write("dead", boot, dead).file.Close() // the lock goes with the process
	write("older", "another-boot", dead).file.Close()
	live := write("live", boot, self)
	defer live.drop()

	got := map[string]Outcome{}
	left, err := ListFrozen(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		got[l.Run+" "+l.Path] = l.Outcome
	}
	if len(got) != 2 || got["live /mnt/live"] != IsLive {
		t.Errorf("left are %v, want the dead run's and the live one's", got)
	}
	if o, ok := got["dead /mnt/dead"]; !ok || o != "" {
		t.Errorf("the dead run's is %q, %v", o, ok)
	}
	if files, _ := os.ReadDir(dir); len(files) != 3 {
		t.Errorf("%d files are there, want all 3", len(files))
	}
	if left, err := ListFrozen(context.Background(), dir+"/nowhere"); len(left) != 0 || err != nil {
		t.Errorf("of a folder that is not there: %v, %v", left, err)
	}
}
