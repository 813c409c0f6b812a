package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// cli runs the AWS CLI, whose botocore is the other parser of our answers.
type cli struct {
	*testing.T
	env   []string
	forks *forks // nil where each command is a start of aws
}

func (c cli) run(args ...string) (string, error) {
	args = append(args, "--output", "json")
	if c.forks != nil {
		return c.forks.run(args)
	}
	cmd := exec.Command("aws", args...)
	cmd.Env = c.env
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// forks is a Python process that has read the AWS CLI and its model of EC2 once, which is most of what a start of aws costs. It runs
// each command in a fork of itself, which knows nothing of the commands before.
type forks struct {
	in  *json.Encoder
	out *json.Decoder
}

const forkEach = `
import awscli, json, os, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
driver.session.get_service_model("ec2")
print(json.dumps(awscli.__version__), flush=True)
for line in sys.stdin:
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(w, 1)
        os.dup2(w, 2)
        code = driver.main(json.loads(line))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    os.close(w)
    with open(r) as f:
        output = f.read()
    print(json.dumps({"Output": output, "Code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), flush=True)
`

// startForks returns nil unless python3 has the AWS CLI of this version, as `aws --version` says it. Version 2 of the CLI brings its own
// Python.
func startForks(t *testing.T, env []string, version string) *forks {
	t.Helper()
	cmd := exec.Command("python3", "-c", forkEach)
	cmd.Env = env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Start() != nil {
		return nil
	}
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
	f := &forks{json.NewEncoder(in), json.NewDecoder(out)}
	var imported string
	if f.out.Decode(&imported) != nil || !strings.HasPrefix(version, "aws-cli/"+imported+" ") {
		return nil
	}
	return f
}

func (f *forks) run(args []string) (string, error) {
	var ended struct {
		Output string
		Code   int
	}
	if err := errors.Join(f.in.Encode(args), f.out.Decode(&ended)); err != nil {
		return "", err
	}
	var err error
	if ended.Code != 0 {
		err = fmt.Errorf("exit status %d", ended.Code)
	}
	return strings.TrimSpace(ended.Output), err
}

// ec2 runs an EC2 command and returns what --query picks.
func (c cli) ec2(query string, args ...string) any {
	c.Helper()
	args = append([]string{"ec2"}, args...)
	if query != "" {
		args = append(args, "--query", query)
	}
	output, err := c.run(args...)
	if err != nil {
		c.Fatalf("aws %s: %v: %s", strings.Join(args, " "), err, output)
	}
	var value any
	if output != "" {
		if err := json.Unmarshal([]byte(output), &value); err != nil {
			c.Fatalf("aws %s: %v: %s", strings.Join(args, " "), err, output)
		}
	}
	return value
}

func (c cli) text(query string, args ...string) string {
	c.Helper()
	text, ok := c.ec2(query, args...).(string)
	if !ok {
		c.Fatalf("aws %v: no text at %s", args, query)
	}
	return text
}

func TestTheAWSCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("forty commands of the AWS CLI take a while")
	}
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("no aws command: ", err)
	}
	version, err := exec.Command("aws", "--version").Output()
	if err != nil {
		t.Skip("the aws command does not run: ", err)
	}
	server, _ := serve(t, sandbox.Config{FilesOnly: true})
	env := append(append(os.Environ(), server.Environment()...), "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
	c := cli{t, env, startForks(t, env, string(version))}

	instance := c.text("Reservations[0].Instances[0].InstanceId", "describe-instances")
	volume := c.text("VolumeId", "create-volume", "--availability-zone", sandbox.Zone, "--size", "1", "--volume-type", "gp3",
		"--tag-specifications", "ResourceType=volume,Tags=[{Key=role,Value=solr}]")
	if state := c.text("State", "attach-volume", "--volume-id", volume, "--instance-id", instance, "--device", "/dev/sdf"); state != "attaching" {
		t.Errorf("attach: %s", state)
	}
	if got := c.text("Volumes[0].Attachments[0].Device", "describe-volumes", "--filters", "Name=tag:role,Values=so*"); got != "/dev/sdf" {
		t.Errorf("device %s", got)
	}
	set := c.ec2("Snapshots[].VolumeId", "create-snapshots", "--instance-specification", "InstanceId="+instance+",ExcludeBootVolume=true", "--copy-tags-from-source", "volume")
	if !slices.Equal(set.([]any), []any{volume}) {
		t.Errorf("set %v", set)
	}
	var snapshots []string
	for range 6 {
		snapshots = append(snapshots, c.text("SnapshotId", "create-snapshot", "--volume-id", volume, "--description", "nightly"))
	}
	c.ec2("", "create-tags", "--resources", snapshots[0], "--tags", "Key=keep,Value=yes")
	if got := c.ec2("Tags[].ResourceId", "describe-tags", "--filters", "Name=key,Values=keep"); !slices.Equal(got.([]any), []any{snapshots[0]}) {
		t.Errorf("tags %v", got)
	}
	c.ec2("", "delete-tags", "--resources", snapshots[0], "--tags", "Key=keep")
	if got := c.ec2("length(Snapshots)", "describe-snapshots", "--owner-ids", "self", "--page-size", "5"); got != 7.0 {
		t.Errorf("%v snapshots over pages, want 7", got)
	}
	page := c.ec2("", "describe-snapshots", "--owner-ids", "self", "--max-results", "5", "--no-paginate").(map[string]any)
	if len(page["Snapshots"].([]any)) != 5 || page["NextToken"] == nil {
		t.Errorf("a page of %d, token %v", len(page["Snapshots"].([]any)), page["NextToken"])
	}
	c.ec2("", "modify-volume", "--volume-id", volume, "--size", "2")
	if got := c.text("VolumesModifications[0].ModificationState", "describe-volumes-modifications"); got != "completed" {
		t.Errorf("modification %s", got)
	}
	c.ec2("", "modify-instance-attribute", "--instance-id", instance, "--block-device-mappings", `[{"DeviceName":"/dev/sdf","Ebs":{"DeleteOnTermination":true}}]`)
	if got := c.ec2("BlockDeviceMappings[1].Ebs.DeleteOnTermination", "describe-instance-attribute", "--instance-id", instance, "--attribute", "blockDeviceMapping"); got != true {
		t.Errorf("delete on termination: %v", got)
	}
	copied := c.text("SnapshotId", "copy-snapshot", "--source-region", sandbox.Region, "--source-snapshot-id", snapshots[0])
	c.ec2("", "delete-snapshot", "--snapshot-id", copied)
	there := c.text("SnapshotId", "copy-snapshot", "--region", "eu-central-1", "--source-region", sandbox.Region, "--source-snapshot-id", snapshots[0], "--encrypted")
	if got := c.text("Snapshots[0].KmsKeyId", "describe-snapshots", "--region", "eu-central-1", "--snapshot-ids", there); !strings.HasPrefix(got, "arn:aws:kms:eu-central-1:") {
		t.Errorf("key of the copy: %s", got)
	}
	c.ec2("", "modify-snapshot-attribute", "--snapshot-id", snapshots[0], "--attribute", "createVolumePermission", "--operation-type", "add", "--user-ids", "222222222222")
	if got := c.text("CreateVolumePermissions[0].UserId", "describe-snapshot-attribute", "--snapshot-id", snapshots[0], "--attribute", "createVolumePermission"); got != "222222222222" {
		t.Errorf("shared with %s", got)
	}
	if got := c.text("LockState", "lock-snapshot", "--region", "eu-central-1", "--snapshot-id", there, "--lock-mode", "governance", "--lock-duration", "1"); got != "governance" {
		t.Errorf("lock %s", got)
	}
	c.ec2("", "unlock-snapshot", "--region", "eu-central-1", "--snapshot-id", there)
	image := c.text("ImageId", "create-image", "--instance-id", instance, "--name", "golden")
	c.text("Instances[0].InstanceId", "run-instances", "--image-id", image, "--count", "1")
	if got := c.text("Images[0].State", "describe-images", "--owners", "self"); got != "available" {
		t.Errorf("image %s", got)
	}
	c.ec2("", "deregister-image", "--image-id", image)
	c.text("AvailabilityZones[0].ZoneName", "describe-availability-zones")
	if account, err := c.run("sts", "get-caller-identity", "--query", "Account"); err != nil || account != `"`+sandbox.Account+`"` {
		t.Errorf("%s, %v", account, err)
	}

	for code, args := range map[string][]string{
		"VolumeInUse":               {"delete-volume", "--volume-id", volume},
		"InvalidVolume.NotFound":    {"describe-volumes", "--volume-ids", "vol-0123456789abcdef0"},
		"InvalidVolumeID.Malformed": {"describe-volumes", "--volume-ids", "vol-x"},
		"InvalidParameterValue":     {"create-volume", "--availability-zone", sandbox.Zone, "--snapshot-id", snapshots[5], "--size", "0"},
		"InvalidAction":             {"describe-vpcs"},
		"DryRunOperation":           {"delete-snapshot", "--snapshot-id", snapshots[1], "--dry-run"},
	} {
		output, err := c.run(append([]string{"ec2"}, args...)...)
		if err == nil || !strings.Contains(output, "("+code+")") {
			t.Errorf("aws %s: %v: %s, want %s", strings.Join(args, " "), err, output, code)
		}
	}
	if state := c.text("State", "detach-volume", "--volume-id", volume); state != "detaching" {
		t.Errorf("detach: %s", state)
	}
	c.ec2("", "delete-volume", "--volume-id", volume)
}
