package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// action is one EC2 action. A new one is a row in actions and a function.
type action struct {
	// params are the parameters it knows besides DryRun, separated by spaces.
	// List numbers are N, ! marks required ones, :int, :bool and :time their
	// kind, NAME.* is a tree that is accepted and not looked into.
	params string
	do     func(t *tx, q *query, out *document) error
}

var actions map[string]action

func init() { // not a literal: the functions' use of the table would be a cycle
	actions = map[string]action{
		"AttachVolume":                 {"VolumeId! InstanceId! Device! EbsCardIndex:int", attachVolume},
		"CopySnapshot":                 {"SourceSnapshotId! SourceRegion! Description DestinationRegion Encrypted:bool KmsKeyId PresignedUrl CompletionDurationMinutes:int " + tagParams, copySnapshot},
		"CreateImage":                  {"InstanceId! Name! Description NoReboot:bool BlockDeviceMapping.* " + tagParams, createImage},
		"CreateSnapshot":               {"VolumeId! Description Location " + tagParams, createSnapshot},
		"CreateSnapshots":              {"InstanceSpecification.InstanceId! InstanceSpecification.ExcludeBootVolume:bool InstanceSpecification.ExcludeDataVolumeId.N Description CopyTagsFromSource Location " + tagParams, createSnapshots},
		"CreateTags":                   {"ResourceId.N! Tag.N.Key Tag.N.Value", createTags},
		"CreateVolume":                 {"AvailabilityZone AvailabilityZoneId ClientToken Encrypted:bool Iops:int KmsKeyId MultiAttachEnabled:bool Size:int SnapshotId Throughput:int VolumeInitializationRate:int VolumeType " + tagParams, createVolume},
		"DeleteSnapshot":               {"SnapshotId!", deleteSnapshot},
		"DeleteTags":                   {"ResourceId.N! Tag.N.Key Tag.N.Value", deleteTags},
		"DeleteVolume":                 {"VolumeId!", deleteVolume},
		"DeregisterImage":              {"ImageId! DeleteAssociatedSnapshots:bool", deregisterImage},
		"DescribeAvailabilityZones":    {"ZoneName.N ZoneId.N AllAvailabilityZones:bool " + filterParams, describeAvailabilityZones},
		"DescribeImages":               {"ImageId.N Owner.N ExecutableBy.N IncludeDeprecated:bool IncludeDisabled:bool " + pageParams, describeImages},
		"DescribeInstanceAttribute":    {"InstanceId! Attribute!", describeInstanceAttribute},
		"DescribeInstances":            {"InstanceId.N IncludeManagedResources:bool " + pageParams, describeInstances},
		"DescribeLockedSnapshots":      {"SnapshotId.N " + pageParams, describeLockedSnapshots},
		"DescribeRegions":              {"RegionName.N AllRegions:bool " + filterParams, describeRegions},
		"DescribeSnapshotAttribute":    {"SnapshotId! Attribute!", describeSnapshotAttribute},
		"DescribeSnapshots":            {"SnapshotId.N Owner.N RestorableBy.N " + pageParams, describeSnapshots},
		"DescribeTags":                 {pageParams, describeTags},
		"DescribeVolumes":              {"VolumeId.N IncludeManagedResources:bool " + pageParams, describeVolumes},
		"DescribeVolumesModifications": {"VolumeId.N IncludeManagedResources:bool " + pageParams, describeVolumesModifications},
		"DetachVolume":                 {"VolumeId! InstanceId Device Force:bool", detachVolume},
		"LockSnapshot":                 {"SnapshotId! LockMode! LockDuration:int ExpirationDate:time CoolOffPeriod:int", lockSnapshot},
		"ModifyInstanceAttribute":      {"InstanceId! Attribute Value BlockDeviceMapping.N.DeviceName BlockDeviceMapping.N.Ebs.DeleteOnTermination:bool BlockDeviceMapping.N.Ebs.VolumeId DisableApiTermination.Value:bool UserData.Value", modifyInstanceAttribute},
		"ModifySnapshotAttribute": {"SnapshotId! Attribute OperationType UserId.N UserGroup.N CreateVolumePermission.Add.N.UserId CreateVolumePermission.Add.N.Group " +
			"CreateVolumePermission.Remove.N.UserId CreateVolumePermission.Remove.N.Group", modifySnapshotAttribute},
		"ModifySnapshotTier":  {"SnapshotId! StorageTier", modifySnapshotTier},
		"ModifyVolume":        {"VolumeId! Size:int VolumeType Iops:int Throughput:int MultiAttachEnabled:bool", modifyVolume},
		"RestoreSnapshotTier": {"SnapshotId! PermanentRestore:bool TemporaryRestoreDays:int", restoreSnapshotTier},
		"RunInstances":        {"ImageId! MinCount!:int MaxCount!:int InstanceType ClientToken Placement.* UserData SubnetId KeyName SecurityGroupId.N SecurityGroup.N IamInstanceProfile.* BlockDeviceMapping.* NetworkInterface.* MetadataOptions.* EbsOptimized:bool Monitoring.* " + tagParams, runInstances},
		"TerminateInstances":  {"InstanceId.N! Force:bool SkipOsShutdown:bool", terminateInstances},
		"UnlockSnapshot":      {"SnapshotId!", unlockSnapshot},
	}
}

const (
	filterParams = "Filter.N.Name Filter.N.Value.N"
	pageParams   = filterParams + " MaxResults:int NextToken"
	tagParams    = "TagSpecification.N.ResourceType TagSpecification.N.Tag.N.Key TagSpecification.N.Tag.N.Value"
)

// errConnectionReset tells the transport to drop the connection unanswered.
var errConnectionReset = errors.New("connection reset by the sandbox")

// api answers one request of the Query protocol and logs it. Its error is
// errConnectionReset, or that the caller gave up waiting.
func (w *Sandbox) api(ctx context.Context, form url.Values, authorization string) (*answer, error) {
	in, scopeErr := w.worldFor(authorization)
	q := newQuery(form)
	q.request = rand.Text()
	call := Call{Time: time.Now(), Service: "ec2", Action: q.action, Params: q.logged(), RequestID: q.request, Process: processID, World: in.key()}
	switch q.action {
	case "GetCallerIdentity":
		call.Service = "sts"
	case "GetMetricStatistics":
		call.Service = "cloudwatch"
	}
	reply, err := w.withFaults(ctx, q, &call, func() (*answer, error) {
		if err := errors.Join(scopeErr, w.refuseLost(in)); err != nil {
			return nil, err
		}
		return w.execute(in, q, authorization)
	})
	call.Millis = float64(time.Since(call.Time).Microseconds()) / 1000
	w.log.add(call)
	return reply, err
}

// withFaults runs one call and applies the matching faults around its effect.
func (w *Sandbox) withFaults(ctx context.Context, q *query, call *Call, effect func() (*answer, error)) (*answer, error) {
	finish := func(reply *answer, err error) (*answer, error) {
		if err == nil {
			call.Result = "ok"
			return reply, nil
		}
		r := asRefusal(err)
		call.Result = r.Code
		switch call.Service {
		case "sts":
			return stsRefusal(r, q.request), nil
		case "cloudwatch":
			return cloudWatchAnswer(r.Status, cbor.Map{"__type": cbor.String(r.Code), "message": cbor.String(r.Message)}), nil
		}
		return ec2Refusal(r, q.request), nil
	}
	in := worldOf(call.World)
	if regions[in.Region] == "" {
		return finish(effect()) // there is no such region
	}
	hit, err := w.matchFaults(in, call.faultName(), q.values)
	if err != nil {
		return finish(nil, err)
	}
	q.faults = hit
	call.Faults = names(hit)
	wait := w.latency(in).Request
	for _, f := range hit {
		wait += f.Latency
		if f.When != "after" {
			wait += f.Hang
		}
	}
	if err := sleep(ctx, wait); err != nil {
		call.Result = "abandoned"
		return nil, err
	}
	for _, f := range hit {
		if f.Reset == "before" {
			call.Result = "reset"
			return nil, errConnectionReset
		}
		if err := f.refusal(q.action, in); err != nil {
			return finish(nil, err)
		}
	}
	reply, err := finish(effect())
	for _, f := range hit {
		if f.Skew != 0 {
			reply.skew += f.Skew
		}
		if f.Body != nil && call.Service == "imds" {
			reply.body = []byte(*f.Body)
		}
		if f.When == "after" {
			if err := sleep(ctx, f.Hang); err != nil {
				call.Lost = true
				return nil, err
			}
		}
		if f.Reset == "after" {
			call.Lost = true
			return nil, errConnectionReset
		}
	}
	return reply, err
}

// execute carries the action out in one transaction.
func (w *Sandbox) execute(in World, q *query, authorization string) (*answer, error) {
	if authorization == "" {
		return nil, refuse("AuthFailure", "AWS was not able to validate the provided access credentials")
	}
	if q.action == "GetCallerIdentity" {
		return callerIdentity(in, q.request), nil
	}
	if q.action == "GetMetricStatistics" {
		if policy := w.policy(in); policy != nil {
			if err := policy.check(access{action: "cloudwatch:" + q.action, arn: "*", context: requestContext(in, nil)}, in); err != nil {
				return nil, err
			}
		}
		return w.metricStatistics(in, q)
	}
	row, ok := actions[q.action]
	if !ok {
		return nil, refuse("InvalidAction", "The action %s is not valid for this web service.", q.action)
	}
	if err := q.check(row.params); err != nil {
		return nil, err
	}
	var out document
	err := w.transactIn(in, func(t *tx) error {
		if err := t.authorize(q); err != nil {
			return err
		}
		for _, f := range q.faults {
			if f.Effect == "stale" && strings.HasPrefix(q.action, "Describe") {
				t.now = t.now.Add(-cmp.Or(f.After, 5*time.Second))
			}
		}
		if err := row.do(t, q, &out); err != nil {
			return err
		}
		if q.bool("DryRun") {
			return refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ec2Answer(q.action, q.request, out.Bytes()), nil
}

func (w *Sandbox) latency(in World) Latency {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behaviour(in.key()).Latency
}

func (w *Sandbox) policy(in World) *Policy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behaviour(in.key()).Policy
}

// stsRefusal is an error answer in the usual form of the Query protocol, which is not EC2's.
func stsRefusal(r *refusal, requestID string) *answer {
	var d document
	d.WriteString(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`)
	d.in("Error", func() {
		d.text("Type", "Sender")
		d.text("Code", r.Code)
		d.text("Message", r.Message)
	})
	d.text("RequestId", requestID)
	d.WriteString(`</ErrorResponse>`)
	return &answer{status: r.Status, kind: "text/xml", body: d.Bytes()}
}

// callerIdentity answers STS GetCallerIdentity.
func callerIdentity(in World, requestID string) *answer {
	var d document
	d.WriteString(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`)
	d.in("GetCallerIdentityResult", func() {
		d.text("Arn", fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/sandbox", in.Account, roleName))
		d.text("UserId", "AROASANDBOX:sandbox")
		d.text("Account", in.Account)
	})
	d.in("ResponseMetadata", func() { d.text("RequestId", requestID) })
	d.WriteString(`</GetCallerIdentityResponse>`)
	return &answer{status: http.StatusOK, kind: "text/xml", body: d.Bytes()}
}
