package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/ec2/sandbox"
)

// imds are faults of the metadata service at paths that match.
func imds(path string, f sandbox.Fault) sandbox.Fault {
	f.Action = "imds"
	if path != "" {
		f.Params = map[string]string{"Path": path}
	}
	return f
}

// The end of a wait is judged against a bound that is far off, not against a stopwatch.
func within(t *testing.T, most time.Duration, do func()) {
	t.Helper()
	begun := time.Now()
	do()
	if took := time.Since(begun); took > most {
		t.Errorf("it took %s, want at most %s", took, most)
	}
}

func TestARunWaitsForWhatComesLateAtBoot(t *testing.T) {
	t.Parallel()
	half := `{"instanceId": "i-`
	for _, c := range []struct {
		name  string
		fault sandbox.Fault
	}{
		{name: "metadata hangs", fault: imds("", sandbox.Fault{Hang: 3 * time.Second, Count: 2})},
		{name: "metadata is slow", fault: imds("", sandbox.Fault{Latency: 1100 * time.Millisecond})},
		{name: "no token yet", fault: imds("*token", sandbox.Fault{Status: 404, Count: 2})},
		{name: "no identity yet", fault: imds("*identity*", sandbox.Fault{Status: 404, Count: 2})},
		{name: "401", fault: imds("*identity*", sandbox.Fault{Status: 401, Count: 4})},
		{name: "403", fault: imds("", sandbox.Fault{Status: 403, Count: 3})},
		{name: "429", fault: imds("", sandbox.Fault{Status: 429, Count: 4})},
		{name: "503", fault: imds("", sandbox.Fault{Status: 503, Count: 8})},
		{name: "no answer", fault: imds("", sandbox.Fault{Reset: "before", Count: 5})},
		{name: "half an answer", fault: imds("*identity*", sandbox.Fault{Body: &half, Count: 4})},
		{name: "the credentials are not known yet", fault: sandbox.Fault{Action: "DescribeVolumes", Error: "AuthFailure", Count: 3}},
		{name: "the clock is not set yet", fault: sandbox.Fault{Action: "DescribeVolumes", Error: "RequestExpired", Count: 3}},
		{name: "EC2 is not reachable yet", fault: sandbox.Fault{Action: "DescribeVolumes", Reset: "before", Count: 12}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.setFaults(c.fault)
			defer r.calm()
			if code, out := r.run("run", "mount", "db"); code != 0 || len(r.mounted()) != 1 {
				t.Errorf("exit %d, mounted %v\n%s", code, r.mounted(), out)
			}
		})
	}
}

func TestADefiniteNoEndsARunAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	for _, code := range []string{"SignatureDoesNotMatch", "UnauthorizedOperation"} {
		r.setFaults(sandbox.Fault{Action: "DescribeVolumes", Error: code})
		within(t, time.Minute, func() {
			if exit, out := r.run("run", "mount", "db"); exit != 1 || !strings.Contains(out, code) {
				t.Errorf("%s: exit %d\n%s", code, exit, out)
			}
		})
	}
}

// What never comes is said, begins no run, and is not waited for twice in one boot.
func TestOneBootWaitsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	budgets := func() []string { return budgetsOfBoot(t, r) }
	t.Cleanup(func() {
		for _, path := range budgets() {
			_ = os.Remove(path)
		}
	})
	r.hang("CreateVolume", time.Minute, "before")
	r.killInStep("create-volume", "run", "mount", "db")
	r.setFaults(imds("", sandbox.Fault{Status: 503}))
	declared, err := os.ReadFile(r.settings)
	if err != nil {
		t.Fatal(err)
	}
	r.declare("aws {\n  patience = \"13s\"\n}\n" + string(declared))
	out := r.wants(1, "waiting: ", "resume")
	if !strings.Contains(out, "still_for=") || !strings.Contains(out, "HTTP 503") {
		t.Errorf("resume says\n%s", out)
	}
	if n := len(budgets()); n != 1 {
		t.Errorf("%d records say what this boot has waited", n)
	}
	within(t, 2*time.Minute, func() { r.wants(1, "HTTP 503", "run", "mount", "db") })
	log, err := os.Create(filepath.Join(r.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	patient := r.command("run", "mount", "db", "--patience", "1h") // the flag counts for this command alone
	patient.Stderr = log
	if err := patient.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("wait of an hour", func() bool {
		said, _ := os.ReadFile(log.Name())
		return strings.Contains(string(said), "still_for=59m")
	})
	if err := patient.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = patient.Wait()
	if code := patient.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("interrupted while it waited: exit %d", code)
	}
	r.calm()
	r.must("resume")
	if left := budgets(); len(left) > 0 {
		t.Errorf("EC2 has answered, and who waits next finds %v", left)
	}
}

// budgetsOfBoot are the records of what the commands of the sandbox's boot have waited, as long as they count.
func budgetsOfBoot(t *testing.T, r *rig) (paths []string) {
	id, err := os.ReadFile(sandbox.RootsOf(r.sandboxDir()).BootID)
	if err != nil {
		t.Fatal(err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	all, _ := filepath.Glob("/run/snaptastic/waiting-*")
	for _, path := range all {
		var rec struct {
			Boot  string  `json:"boot"`
			Begun float64 `json:"begun_seconds"`
			Until float64 `json:"until_seconds"`
		}
		body, _ := os.ReadFile(path)
		if json.Unmarshal(body, &rec) == nil && rec.Boot == strings.TrimSpace(string(id)) && float64(now.Sec)-rec.Until <= rec.Until-rec.Begun {
			paths = append(paths, path)
		}
	}
	return paths
}

func TestReadOnlyCommandsEndAtTheirTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	hang := sandbox.Fault{Hang: time.Hour}
	for _, c := range []struct {
		name    string
		fault   sandbox.Fault
		code    int
		message string
		args    []string
	}{
		{"metadata", imds("", hang), 1, "does not answer", []string{"plan", "mount", "db", "--timeout", "3s"}},
		{"metadata", imds("", hang), 1, "does not answer", []string{"volumes", "db", "--timeout", "3s"}},
		{"EC2", sandbox.Fault{Action: "Describe*", Hang: time.Hour}, 1, "gave up after 3s", []string{"plan", "mount", "db", "--timeout", "3s"}},
		{"EC2", sandbox.Fault{Action: "Describe*", Hang: time.Hour}, 1, "gave up after 3s", []string{"snapshots", "db", "--timeout", "3s"}},
		{"EC2", sandbox.Fault{Action: "Describe*", Hang: time.Hour}, 1, "no response from EC2 within 15 s", []string{"snapshots", "db"}},
		{"EC2", sandbox.Fault{Action: "*", Hang: time.Hour}, 1, "time", []string{"doctor", "--timeout", "3s"}},
		{"throttling", sandbox.Fault{Action: "DescribeSnapshots", Error: "RequestLimitExceeded"}, 3, "SNAPTASTIC UNKNOWN - gave up after 3s", []string{"check", "--format", "nagios", "--timeout", "3s"}},
		{"EC2", sandbox.Fault{Action: "DescribeVolumes", Hang: time.Hour}, 3, "SNAPTASTIC UNKNOWN - ", []string{"check", "--format", "nagios", "--timeout", "3s"}},
		{"metadata", imds("", hang), 1, "does not answer", []string{"check", "--timeout", "3s"}},
	} {
		t.Run(c.name+" "+c.args[0], func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "ext4")
			r.must("run", "mount", "db")
			if c.args[0] == "check" && c.name == "metadata" {
				r.declare(fmt.Sprintf("snapshotter \"db\" {\n  filter_tags = { role = \"db\", id = instance.id }\n%s}\n", r.volume(0, "ext4")))
			}
			r.setFaults(c.fault)
			defer r.calm()
			within(t, time.Minute, func() {
				code, out, stderr := r.apart(r.command(c.args...))
				if code != c.code || !strings.Contains(out+stderr, c.message) {
					t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.message, out, stderr)
				}
				if strings.Contains(stderr, "interrupted") {
					t.Errorf("nobody interrupted it:\n%s", stderr)
				}
			})
		})
	}
	r.wants(2, "--timeout", "plan", "mount", "db", "--timeout", "soon")
	r.wants(2, "--patience", "run", "mount", "db", "--patience", "soon")
}

// with is bare with these variables.
func (r *rig) with(environ []string, args ...string) *exec.Cmd {
	cmd := r.bare(append([]string{"--state-dir", r.state(), "--yes"}, args...)...)
	cmd.Env = append(append(cmd.Env, "AWS_ACCESS_KEY_ID=k", "AWS_SECRET_ACCESS_KEY=s"), environ...)
	return cmd
}

func TestTheEndpointIsEC2sAloneAndTheMetadataHasItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	const nobody = "http://127.0.0.1:1"
	for _, c := range []struct {
		environ  []string
		args     []string
		metadata string
	}{
		{[]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + r.url}, []string{"--endpoint-url", nobody}, "ok"},
		{nil, []string{"--endpoint-url", nobody, "--metadata-url", r.url}, "ok"},
		{[]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + nobody}, []string{"--endpoint-url", r.url, "--metadata-url", r.url}, "ok"},
		{[]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + nobody}, []string{"--endpoint-url", r.url}, "fail"},
	} {
		_, out, stderr := r.apart(r.with(append(c.environ, "AWS_REGION="+sandbox.Region), append(c.args, "doctor", "--timeout", "5s", "-o", "json")...))
		var findings []struct{ Level, Check, Says string }
		var report struct {
			Findings []struct{ Level, Check, Says string }
		}
		if json.Unmarshal([]byte(out), &findings) != nil {
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatalf("%v: %s%s", err, out, stderr)
			}
			findings = report.Findings
		}
		for _, f := range findings {
			if f.Check == "metadata" && f.Level != c.metadata {
				t.Errorf("%v %v: metadata %s: %s", c.environ, c.args, f.Level, f.Says)
			}
		}
	}
	r.wants(2, "invalid URL", "--metadata-url", "localhost", "doctor")
}

func TestARegionThatIsNotTheInstancesOwnIsRefusedEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "ext4")
	way := []string{"AWS_ENDPOINT_URL=" + r.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + r.url}
	config := filepath.Join(r.dir, "config")
	if err := os.WriteFile(config, []byte("[default]\nregion = ap-south-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		environ []string
		args    []string
		hint    string
	}{
		{[]string{"AWS_REGION=ap-south-2"}, nil, "unset AWS_REGION"},
		{[]string{"AWS_DEFAULT_REGION=ap-south-2"}, nil, "unset AWS_DEFAULT_REGION"},
		{[]string{"AWS_CONFIG_FILE=" + config}, nil, "from the AWS profile"},
		{nil, []string{"--region", "ap-south-2"}, "remove --region"},
	} {
		for _, op := range []string{"run", "plan"} {
			r.quiet(func() {
				code, _, stderr := r.apart(r.with(append(c.environ, way...), append(c.args, "--settings", r.settings, op, "mount", "db")...))
				if code != exitUsage || !strings.Contains(stderr, "ap-south-2") || !strings.Contains(stderr, sandbox.Region) || !strings.Contains(stderr, c.hint) {
					t.Errorf("%s with %v %v: exit %d\n%s", op, c.environ, c.args, code, stderr)
				}
			})
		}
	}
}

// A boot knows neither the flags nor the environment nor the settings that a run was begun with.
func TestAResumeReachesEC2AsItsRunDid(t *testing.T) {
	t.Parallel()
	const profile = "[profile house]\nregion = " + sandbox.Region + "\n"
	for _, c := range []struct {
		name    string
		aws     string // the aws block's content
		environ func(r *rig) []string
		args    func(r *rig) []string
	}{
		{name: "the settings", aws: "endpoint_url = %q\n  profile = \"house\"", environ: func(r *rig) []string {
			return []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + r.url, "AWS_CONFIG_FILE=" + filepath.Join(r.dir, "config")}
		}},
		{name: "the environment", environ: func(r *rig) []string {
			return []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + r.url, "AWS_ENDPOINT_URL=" + r.url}
		}},
		{name: "flags", args: func(r *rig) []string { return []string{"--endpoint-url", r.url, "--metadata-url", r.url} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1, "ext4")
			aws := "# none"
			if c.aws != "" {
				aws = fmt.Sprintf(c.aws, r.url)
			}
			if err := os.WriteFile(filepath.Join(r.dir, "config"), []byte(profile), 0o600); err != nil {
				t.Fatal(err)
			}
			r.declare(fmt.Sprintf("aws {\n  %s\n}\ntimeouts {\n  device = \"1s\"\n}\nsnapshotter \"db\" {\n  filter_tags = { role = \"db\" }\n%s}\n", aws, r.volume(0, "ext4")))
			var environ, args []string
			if c.environ != nil {
				environ = c.environ(r)
			}
			if c.args != nil {
				args = c.args(r)
			}
			r.hang("CreateVolume", time.Minute, "after")
			var said bytes.Buffer
			defer func() {
				if t.Failed() {
					t.Logf("the run said\n%s", said.String())
				}
			}()
			begin := r.with(environ, append(args, "--settings", r.settings, "run", "mount", "db")...)
			begin.Stderr = &said
			if err := begin.Start(); err != nil {
				t.Fatal(err)
			}
			r.eventually("step create-volume", func() bool { return r.inside("create-volume") })
			_ = begin.Process.Kill()
			_ = begin.Wait()
			r.calm()
			if err := os.Remove(r.settings); err != nil {
				t.Fatal(err)
			}
			before := len(r.calls())
			r.apart(r.with(nil, "resume")) // it finds no device: this machine's /dev is not the sandbox's
			if did := count(r.calls()[before:]); did["AttachVolume"] == 0 {
				t.Errorf("resume asked %v of the run's own EC2", did)
			}
			code, _, stderr := r.apart(r.with(nil, "rollback", r.only()))
			if left := r.volumes(); code != 0 || len(left) > 0 {
				t.Errorf("rollback: exit %d, left %v\n%s", code, left, stderr)
			}
			journal, err := os.ReadFile(r.journals()[0])
			if err != nil || strings.Contains(string(journal), "AWS_SECRET") || strings.Contains(string(journal), "AWS_ACCESS_KEY") {
				t.Errorf("there are credentials in the journal, or none can be read: %v", err)
			}
		})
	}
}
