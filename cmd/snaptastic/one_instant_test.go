package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ssmScript is the script of an SSM document of examples/, with its parameters put in as SSM does.
func ssmScript(t *testing.T, file string, parameters map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "examples", file))
	if err != nil {
		t.Fatal(err)
	}
	head, script, found := strings.Cut(string(text), "        - |\n")
	if !found {
		t.Fatalf("%s has no script", file)
	}
	for line := range strings.Lines(head) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ": {type: String")
		if _, standard, has := strings.Cut(rest, "default: "); has && parameters[name] == "" {
			standard, _, _ = strings.Cut(standard, ",")
			parameters[name] = strings.Trim(standard, `"`)
		}
	}
	for name, value := range parameters {
		script = strings.ReplaceAll(script, "{{"+name+"}}", value)
	}
	if strings.Contains(script, "{{") {
		t.Fatalf("a parameter of %s is missing: %s", file, script)
	}
	return script
}

// An ssmHost is a machine of one account that runs such scripts. What its snaptastic says of its clock is put in: nothing keeps the clock here right.
type ssmHost struct {
	r     *rig
	name  string
	mount string
}

func (r *rig) ssmHost(name string) ssmHost {
	r.t.Helper()
	h := ssmHost{r, name, filepath.Join(r.dir, name, "mnt")}
	for _, dir := range []string{h.mount, filepath.Join(r.dir, name, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	r.mounts = append(r.mounts, h.mount)
	files := map[string]string{
		"snaptastic.hcl": fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { cluster = \"shards\" }\n  volume \"/dev/sdf\" {\n    mount_point = %q\n    size        = 1\n  }\n}\n", h.mount),
		"bin/uname":      "#!/bin/sh\necho " + name + "\n",
		"bin/snaptastic": fmt.Sprintf(`#!/bin/sh
case "$*" in *--at*) set -- "$@" --trust-clock ;; esac
out=$(%s --settings %s/snaptastic.hcl --state-dir %s/state --sandbox=%s/worlds/123456789012/eu-west-1/%s "$@") || status=$?
printf '%%s\n' "$out" | sed "s/\"error_seconds\": [^,]*/\"error_seconds\": $CLOCK_ERROR/"
exit ${status:-0}
`, r.bin, filepath.Join(r.dir, name), filepath.Join(r.dir, name), r.sandboxDir(), name),
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(r.dir, name, file), []byte(text), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	return h
}

// runs has the host's shell run a script, as the agent of SSM does.
func (h ssmHost) runs(script, clockError string) (code int, out, stderr string) {
	c := exec.Command("/bin/sh", "-c", script)
	c.Env = append(slices.Clone(h.r.env), "PATH="+filepath.Join(h.r.dir, h.name, "bin")+":"+os.Getenv("PATH"), "CLOCK_ERROR="+clockError)
	return h.r.apart(c)
}

// Without a server, two hosts that know nothing of each other freeze at one instant, which they compute from the time of a schedule, and a third
// machine labels their set; or deletes it, where one of them cannot prove its part.
func TestTwoHostsFreezeAtOneInstantWithoutAServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0, "ext4")
	hosts, control := []ssmHost{r.ssmHost("a"), r.ssmHost("b")}, r.ssmHost("control")
	for _, h := range hosts {
		if code, out, stderr := h.runs("snaptastic run mount db --yes", "0"); code != 0 {
			t.Fatalf("exit %d\n%s%s", code, out, stderr)
		}
	}
	ends := func(scheduled time.Time) (int, string) {
		later := map[string]string{"Cluster": "shards", "Scheduled": scheduled.Add(2 * time.Minute).Format(time.RFC3339), "After": "120", "Tries": "1"}
		code, out, stderr := control.runs(ssmScript(t, "one-instant-label.ssm.yaml", later), "0")
		return code, out + stderr
	}

	scheduled, script, results := atOneInstant(t, hosts, "0.001", "0.001")
	instant := scheduled.Add(20 * time.Second)
	for i, res := range results {
		if len(res.Freezes) != 1 || len(res.Freezes[0].Mounts) != 1 {
			t.Fatalf("%s: %+v", hosts[i].name, res)
		}
		if m := res.Freezes[0].Mounts[0]; m.FrozenAt.Before(instant) || m.FrozenAt.After(instant.Add(time.Second)) || m.ThawedAt.Before(instant.Add(2*time.Second)) {
			t.Errorf("%s stood still from %s to %s, and the instant is %s", hosts[i].name, m.FrozenAt, m.ThawedAt, instant)
		}
	}
	if code, out, stderr := hosts[0].runs(script, "0.001"); code != 0 || !strings.Contains(out, `"repeated": true`) {
		t.Errorf("sent again: exit %d\n%s%s", code, out, stderr)
	}
	if code, out := ends(scheduled); code != 0 {
		t.Errorf("the set is not labelled: exit %d\n%s", code, out)
	}
	r.restorable(2)

	scheduled, _, _ = atOneInstant(t, hosts, "0.001", "1.5")
	if left := len(r.snapshots()); left != 3 {
		t.Errorf("the host whose clock may be wrong has deleted its snapshot, and there are %d of both sets", left)
	}
	if code, out := ends(scheduled); code != 1 || !strings.Contains(out, "there is no set shards-") {
		t.Errorf("half a set: exit %d\n%s", code, out)
	}
	r.restorable(2)
	r.thawedAll()
}

// atOneInstant has all hosts run the document of one schedule, with clocks as wrong as these. A machine that is too busy to be in time is asked again.
func atOneInstant(t *testing.T, hosts []ssmHost, clockErrors ...string) (scheduled time.Time, script string, results []armedResult) {
	t.Helper()
	for range 4 {
		scheduled = time.Now().UTC().Truncate(time.Second)
		script = ssmScript(t, "one-instant.ssm.yaml", map[string]string{"Cluster": "shards", "Members": "2", "Lead": "20", "Scheduled": scheduled.Format(time.RFC3339)})
		results = make([]armedResult, len(hosts))
		var all sync.WaitGroup
		var said [2]string
		for i, h := range hosts {
			all.Go(func() {
				code, out, stderr := h.runs(script, clockErrors[i])
				said[i] = fmt.Sprintf("%s: exit %d\n%s%s\n", h.name, code, out, stderr)
				_ = json.NewDecoder(strings.NewReader(out)).Decode(&results[i])
				if trusted := clockErrors[i] < "1"; trusted != (code == 0) || !trusted && !strings.Contains(stderr, "did not certainly stand still") {
					said[i] = "WRONG " + said[i]
				}
			})
		}
		all.Wait()
		both := said[0] + said[1]
		if !strings.Contains(both, "WRONG") {
			return scheduled, script, results
		}
		if !strings.Contains(both, "late") && !strings.Contains(both, "is over") {
			t.Fatal(both)
		}
		t.Logf("too busy to be in time: %s", both)
		hosts[0].runs("snaptastic undo --yes --set shards-"+scheduled.Format("20060102T150405Z"), "0")
	}
	t.Fatal("too busy to be in time")
	return
}

// The schedules of docs/fleet.md give the documents what they ask for, and nothing else.
func TestTheSchedulesOfOneInstantFitTheirDocuments(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs", "fleet.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"snaptastic-one-instant": "one-instant.ssm.yaml", "snaptastic-one-instant-label": "one-instant-label.ssm.yaml"}
	for _, m := range regexp.MustCompile(`(?s)--target '(\{.*?\})'\n`).FindAllStringSubmatch(string(text), -1) {
		var target struct{ Arn, RoleArn, Input string }
		var input struct {
			DocumentName string
			Parameters   map[string][]string
		}
		if err := json.Unmarshal([]byte(m[1]), &target); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(target.Input), &input); err != nil {
			t.Fatal(err)
		}
		given := map[string]string{}
		for name, values := range input.Parameters {
			given[name] = strings.Join(values, " ")
		}
		if given["Scheduled"] != "<aws.scheduler.scheduled-time>" {
			t.Errorf("%s is given the time %q", input.DocumentName, given["Scheduled"])
		}
		for name := range given {
			document, _ := os.ReadFile(filepath.Join(repository, "examples", files[input.DocumentName]))
			if !strings.Contains(string(document), "\n  "+name+": {type: String") {
				t.Errorf("%s has no parameter %s", input.DocumentName, name)
			}
		}
		ssmScript(t, files[input.DocumentName], given) // none is missing
		delete(files, input.DocumentName)
	}
	if len(files) != 0 {
		t.Errorf("docs/fleet.md has no schedule for %v", files)
	}
}
