package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// A rollback keeps a volume that was mounted once, unless an operator says to
// delete it.
func TestRollbackDeletesAVolumeThatWasInUseOnlyWhenTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		flags   []string
		left    int
		message string
	}{
		"not told": {nil, 1, "remains and is billed"},
		"told":     {[]string{"--delete-volumes"}, 0, "rolled back"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, "ext4")
			body, err := os.ReadFile(r.settings)
			if err != nil {
				t.Fatal(err)
			}
			hooked := strings.Replace(string(body), "  volume ", "  hook \"post_mounts\" {\n    command = [\"false\"]\n  }\n  volume ", 1)
			if err := os.WriteFile(r.settings, []byte(hooked), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out := r.run("run", "mount", "db"); code == 0 {
				t.Fatalf("the hook did not fail the run:\n%s", out)
			}
			run := r.unfinished()
			if len(run) != 1 {
				t.Fatalf("unfinished runs: %v", run)
			}
			out := r.must(append([]string{"rollback", run[0]}, tt.flags...)...)
			if !strings.Contains(out, tt.message) {
				t.Errorf("it does not say %q:\n%s", tt.message, out)
			}
			vs, err := r.client.VolumesByTag(context.Background(), map[string]string{"role": "db"})
			if err != nil {
				t.Fatal(err)
			}
			if len(vs) != tt.left || len(r.mounted()) != 0 {
				t.Errorf("%d volumes are left and %v mounted", len(vs), r.mounted())
			}
		})
	}
}

// What was attached and mounted before the run is told as left alone, not as undone.
func TestARollbackTellsWhatItLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, "ext4")
	all := r.mounts
	r.mounts = all[:2]
	r.hooked("")
	r.must("run", "mount", "db")
	r.mounts = all
	r.hooked("")
	r.setFaults(sandbox.Fault{Action: "AttachVolume", Error: "AttachmentLimitExceeded", Count: 1})
	if code, out := r.run("run", "mount", "db"); code != exitSomeLanes {
		t.Fatalf("exit %d, want one lane to fail:\n%s", code, out)
	}
	run := r.unfinished()
	if len(run) != 1 {
		t.Fatalf("unfinished runs: %v", run)
	}
	out := r.must("rollback", run[0], "--log-level", "off")
	if got := len(r.mounted()); got != 2 {
		t.Errorf("%d file systems are mounted after the rollback, want 2", got)
	}
	if strings.Count(out, "undone") != 1 || strings.Count(out, "left alone") != 2 {
		t.Errorf("it does not say that two were left alone and one undone:\n%s", out)
	}
	for line := range strings.Lines(r.must("show", run[0])) {
		if strings.Contains(line, "undone") && !strings.Contains(line, all[2]) {
			t.Errorf("show says that something of an adopted volume was undone: %s", line)
		}
	}
}
