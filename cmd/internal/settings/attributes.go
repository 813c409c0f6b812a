package settings

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/plan/units"
	"snaptastic/steps/recipe"
)

// An attribute is one argument of a block, declared once: the schema, the reader and its row in docs/settings.md follow
// from its declaration.
type attribute[T any] struct {
	doc       row
	otherwise T // the value of an argument that is not set
	read      func(*reader, *hcl.Attribute) (T, bool)
}

// argument is an attribute of any type.
type argument interface{ row() row }

// A row is what docs/settings.md says about an argument.
type row struct{ name, kind, def, meaning string }

func (a attribute[T]) row() row { return a.doc }

// given reads the argument; ok is false where it is not set, null, or a mistake.
func (a attribute[T]) given(r *reader, attrs hcl.Attributes) (T, bool) {
	return a.read(r, attrs[a.doc.name])
}

// value is given, or what holds otherwise.
func (a attribute[T]) value(r *reader, attrs hcl.Attributes) T {
	if v, ok := a.given(r, attrs); ok {
		return v
	}
	return a.otherwise
}

// in is the argument as it was written, for mistakes; nil where it was not.
func (a attribute[T]) in(attrs hcl.Attributes) *hcl.Attribute { return attrs[a.doc.name] }

// shownAs has another text for the default in docs/settings.md.
func (a attribute[T]) shownAs(def string) attribute[T] {
	a.doc.def = def
	return a
}

const isRequired = "required" // as a default

func span(name string, low, high, otherwise time.Duration, meaning string) attribute[time.Duration] {
	return attribute[time.Duration]{row{name, "duration", quote(units.Limit(otherwise)), meaning}, otherwise,
		func(r *reader, attr *hcl.Attribute) (time.Duration, bool) { return r.span(attr, low, high) }}
}

func truth(name string, otherwise bool, meaning string) attribute[bool] {
	return attribute[bool]{row{name, "true or false", fmt.Sprintf("`%t`", otherwise), meaning}, otherwise, (*reader).boolean}
}

// oneOf has the first of words for its default.
func oneOf[T ~string](name string, words []T, meaning string) attribute[T] {
	kind := "text"
	if len(words) <= 3 {
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = quote(string(word))
		}
		kind = list(quoted, "or")
	}
	return attribute[T]{row{name, kind, quote(string(words[0])), meaning}, words[0],
		func(r *reader, attr *hcl.Attribute) (T, bool) { return choice(r, attr, words...) }}
}

func number(name, kind, unit string, low, high, otherwise int64, meaning string) attribute[int64] {
	return attribute[int64]{row{name, kind, fmt.Sprintf("`%d`", otherwise), meaning}, otherwise,
		func(r *reader, attr *hcl.Attribute) (int64, bool) { return r.whole(attr, low, high, unit) }}
}

// matching is a text of one form.
func matching(name, kind, def string, form *regexp.Regexp, want, meaning string) attribute[string] {
	return attribute[string]{row{name, kind, def, meaning}, "", func(r *reader, attr *hcl.Attribute) (string, bool) {
		text, ok := r.text(attr, want)
		if ok && !form.MatchString(text) {
			r.invalid(attr, "Expected %s; got %q.", want, text)
			return "", false
		}
		return text, ok
	}}
}

// custom is an argument with a reader of its own; plain one that is read together with others.
func custom[T any](name, kind, def string, read func(*reader, *hcl.Attribute) T, meaning string) attribute[T] {
	a := attribute[T]{doc: row{name, kind, def, meaning}}
	a.read = func(r *reader, attr *hcl.Attribute) (T, bool) { return read(r, attr), true }
	return a
}

func plain(name, kind, def, meaning string) attribute[*hcl.Attribute] {
	return attribute[*hcl.Attribute]{doc: row{name, kind, def, meaning}}
}

func required(name, kind, meaning string) attribute[*hcl.Attribute] {
	return plain(name, kind, isRequired, meaning)
}

func quote(word string) string { return fmt.Sprintf("`%q`", word) }

// A timeout is an argument of timeouts and where its value goes.
type timeout struct {
	attribute[time.Duration]
	target func(*recipe.Timeouts) *time.Duration
}

func wait(name string, otherwise time.Duration, meaning string, target func(*recipe.Timeouts) *time.Duration) timeout {
	return timeout{span(name, time.Second, 7*24*time.Hour, otherwise, meaning), target}
}

// The arguments of the file and of a snapshotter.
var (
	maxHoldAttr        = span("max_hold", time.Second, time.Minute, 0, "maximum freeze time, `\"1s\"` to `\"1m\"`. When it expires, the file systems are thawed and the snapshots are deleted").shownAs("`\"10s\"`")
	freezeExpediteAttr = truth("freeze_expedite", false, `use expedited RCU grace periods during the freeze: shorter freezes, at the cost of some work on every CPU`)
	filterTagsAttr     = plain("filter_tags", `map of text`, "`role`, `cluster` and `environment` from the userdata", `the tags that identify this snapshotter's snapshots. They are written to volumes and snapshots, and a mount searches for them`)
	descriptionAttr    = plain("description", `text`, "`\"CLUSTER snapshot of MOUNT_POINT\"`", "description of each snapshot, at most 255 characters; may use `volume`. CLUSTER is `userdata.cluster`, or the snapshotter's name if there is none")
	expireAfterAttr    = span("expire_after", time.Second, 100*365*24*time.Hour, 0, "when `snaptastic clean` may delete a snapshot. It has no effect with `keep`").shownAs("never")
	cleanAfterAttr     = truth("clean_after", false, "whether `run snapshot` deletes what is no longer kept once the new snapshots are labelled, as with `--clean`")
	consistencyAttr    = oneOf("consistency", []recipe.Consistency{recipe.ByGroup, recipe.ByVolume}, "`\"group\"`: all volumes are frozen at the same moment, snapshotted with one call, restored from one set, and unmounted all or none. `\"volume\"`: each volume separately")
	onMissingAttr      = oneOf("on_missing", []recipe.OnMissing{recipe.CreateEmpty, recipe.FailIfMissing}, `what a mount does if a volume has no snapshot: create an empty volume, or fail`)
	restoreAttr        = oneOf("restore", []string{"any", "verified"}, `which sets a mount and a restore may take: `+"`\"any\"`"+`, or only those whose last drill succeeded (`+"`\"verified\"`"+`; see `+"`snaptastic run verify`"+`)`)
	offlineAttr        = oneOf("offline", []string{"allow", "refuse"}, `whether a mount may use the volumes of the last mount if EC2 does not answer: see [Boot without EC2](operations.md#boot-without-ec2). Must be a literal, because it is read before userdata and instance are available`)
)

// The arguments of copy.
var (
	copyKeyAttr    = matching("kms_key_id", "text", "the default key for EBS of that region, where the source is encrypted", kmsKey, "a KMS key's id, alias (alias/…) or ARN", "key id, `alias/NAME` or ARN **of that region**, with which the copies are encrypted")
	copyMaxLagAttr = span("max_lag", time.Minute, 400*24*time.Hour, 0, "how old the data of the newest copy may be: `check` reports a destination whose newest complete copy is older").shownAs("`--max-age` of `check`")
)

// The arguments for sets of other accounts.
var (
	shareWithAttr = custom("share_with", "list of accounts", "none", (*reader).accounts, "AWS accounts that each labelled set is shared with, such as `[\"123456789012\"]`: see [Other accounts](restoring.md#other-accounts)")
	copyFromAttr  = matching("copy_from", "text", "none", absolutePath, "an absolute path, such as \"/var/lib/backups/db.json\"", "the manifest of a set that another account shares with this one: `run copy` copies that set for this account. `run copy --from` takes another file")
)

// The arguments of aws.
var (
	regionAttr      = matching("region", "text", "the instance's", regionName, "a region such as \"eu-west-1\"", "for example `\"eu-west-1\"`")
	patienceAttr    = span("patience", 0, 24*time.Hour, 0, "how long `run`, `resume` and `rollback` retry if metadata, credentials or EC2 are not available yet; `\"0s\"` tries once").shownAs("`\"5m\"`")
	endpointURLAttr = custom("endpoint_url", "text", "EC2's", (*reader).url, "an `http` or `https` URL to use instead of EC2's. It does not apply to instance metadata: for that, use `--metadata-url` or `AWS_EC2_METADATA_SERVICE_ENDPOINT`")
	profileAttr     = matching("profile", "text", "`$AWS_PROFILE`", nonEmpty, "the name of a profile in ~/.aws/config", "a profile in `~/.aws/config`")
)

// The arguments of telemetry.
var (
	otlpEndpointAttr = custom("otlp_endpoint", "text", isRequired, (*reader).url, "an `http` or `https` URL of an OTLP/HTTP receiver, such as `\"http://localhost:4318\"`; `/v1/traces` is added to a URL without a path")
	otlpHeadersAttr  = custom("headers", `map of text`, "none", (*reader).headers, "sent with each request, for example `{ authorization = env.OTLP_TOKEN }`")
	otlpTimeoutAttr  = span("timeout", time.Second, 5*time.Minute, 10*time.Second, "for one request; three are tried")
)

// The arguments of a volume.
var (
	mountPointAttr          = required("mount_point", `text`, "an absolute path, unique per volume. A path inside another volume is mounted after it. [Symlinks are resolved](#symlinks-in-mount-points). Not `/` or a part of the running system (`/proc`, `/sys`, `/dev`, `/run`, `/etc`, `/usr`, `/bin`, `/sbin`, `/lib`, `/lib64`, `/boot`); no comma, no control characters, at most 256 characters")
	sizeAttr                = number("size", "GiB", " of GiB", 1, 65536, 5, `size of a new volume; at least the size of the snapshot. The file system is grown to fill the volume`)
	fileSystemAttr          = oneOf("file_system", linux.FileSystems(), "file system for an empty volume: `"+strings.Join(linux.FileSystems(), "`, `")+"`")
	mountOptionsAttr        = custom("mount_options", `text or list`, "`\"defaults\"`", (*reader).mountOptions, "options for `mount -o`: `\"noatime,discard\"` or `[\"noatime\", \"discard\"]`. `bind`, `rbind`, `remount`, `move` and `loop` are refused")
	mkfsOptionsAttr         = custom("mkfs_options", `text or list`, `none`, (*reader).mkfsOptions, "arguments for `mkfs`, quoted as in a shell: `\"-L 'my data'\"` or `[\"-L\", \"my data\"]`. Snaptastic adds the device and the UUID: other devices and `-U` or `uuid=` are refused")
	volumeTypeAttr          = oneOf("volume_type", ebs.TypeNames, `see the table below`)
	iopsAttr                = plain("iops", `number`, `the type's default`, `provisioned IOPS`)
	throughputAttr          = plain("throughput", `MiB/s`, `the type's default`, "`gp3` only, 125 to 2000, at most 1 MiB/s per 4 IOPS")
	encryptedAttr           = plain("encrypted", `true or false`, `the account's default`, `EBS encryption`)
	kmsKeyIDAttr            = plain("kms_key_id", `text`, `the account's default key`, "key id, `alias/NAME` or ARN; implies `encrypted = true`")
	initializationRateAttr  = number("initialization_rate", "MiB/s", " of MiB/s", ebs.MinInitialization, ebs.MaxInitialization, 0, `100 to 300: EBS volume initialization rate of a restored volume, instead of lazy loading on first read; AWS charges for it`).shownAs("none")
	warmAttr                = custom("warm", "true, or list of globs", "`false`", (*reader).warm, "whether `snaptastic run warm` reads what is in use of the volume once after it was restored, so that it is at full speed: see [Warming](restoring.md#warming). Globs are read first, in this order: `[\"pg_wal/**\", \"base/**\"]`. They are relative to the mount point; `**` is any number of directories")
	warmRateAttr            = number("warm_rate", "MiB/s", " of MiB/s", 1, 16000, 0, `the most that it reads in a second`).shownAs("no limit")
	deleteOnTerminationAttr = truth("delete_on_termination", true, `whether EC2 deletes the volume when the instance is terminated`)
	ownerAttr               = matching("owner", "name or number", "root's", userName, "a user's name or number, such as \"postgres\"", "owner of the root directory of a **new** file system; existing file systems are not changed. It does not set the group. The user must exist when the volume is formatted. Needs Linux 5.2. `lost+found` (ext2 to ext4) still belongs to root: use xfs if the database does not accept it")
	groupAttr               = matching("group", "name or number", "root's", userName, "a group's name or number, such as \"postgres\"", `group of that directory; it must exist, too`)
	modeAttr                = matching("mode", `octal text`, "`\"0755\"`", octalMode, "an octal mode such as \"0750\"", "mode of that directory, for example `\"0750\"`")
	deviceNameOffsetAttr    = number("device_name_offset", "number", "", 0, maxOffset, 0, "0 to 21, for Xen: by how many letters the kernel shifts device names (`4` if `/dev/sdf` appears as `/dev/xvdj`). Xen devices have no serial, so the device must have the exact size of the volume. If a name could also be another volume's shifted name, it is refused until you set the offset (`0` is allowed)")
)

// The arguments of a hook.
var (
	commandAttr    = required("command", `list of words`, "the program and its arguments, run without a shell; use `[\"sh\", \"-c\", \"…\"]` if you need one. A program without a slash is searched in `PATH`")
	timeoutAttr    = span("timeout", time.Second, 24*time.Hour, 5*time.Minute, "after this time the whole process group is terminated; at most `\"24h\"`")
	repeatableAttr = truth("repeatable", true, "whether the hook may run again after a crash interrupted it. With `false` the run stops there and waits for an operator")
	onFailureAttr  = oneOf("on_failure", []recipe.OnFailure{recipe.FailRun, recipe.ContinueRun}, `what happens if the exit code is not 0`)
	whenAttr       = oneOf("when", []recipe.When{recipe.Success, recipe.Always, recipe.Changed}, `post hooks: whether to run after a failure. Hooks of a mount: whether to run if nothing changes`).shownAs("see below")
	holdAttr       = truth("hold", false, "`pre_snapshots` and `pre_snapshot` only: the program keeps running while the file systems are frozen, for a lock that lasts as long as its client, as in [`mysql.hcl`](../examples/mysql.hcl). It prints the line `ready` when it has the lock, within `timeout`. After the thaw its stdin reaches EOF, and it must exit with 0 within `timeout`. If it exits earlier, with another exit code, by a signal or not at all, or closes its stdin, the lock may have been lost: the snapshots are deleted and the run fails, unless `on_failure = \"continue\"`. Run the program that holds the lock directly, not in a shell pipeline, which hides its exit code")
)

// The arguments of timeouts, and where their values go.
var timeouts = []timeout{
	wait("snapshot", recipe.DefaultTimeouts.Snapshot, `a pending snapshot to restore from`, func(t *recipe.Timeouts) *time.Duration { return &t.Snapshot }),
	wait("volume", recipe.DefaultTimeouts.Volume, `a new volume to become available`, func(t *recipe.Timeouts) *time.Duration { return &t.Volume }),
	wait("attach", recipe.DefaultTimeouts.Attach, `a volume to be attached`, func(t *recipe.Timeouts) *time.Duration { return &t.Attach }),
	wait("device", recipe.DefaultTimeouts.Device, `the kernel to show an attached volume`, func(t *recipe.Timeouts) *time.Duration { return &t.Device }),
	wait("detach", recipe.DefaultTimeouts.Detach, `a volume to be detached`, func(t *recipe.Timeouts) *time.Duration { return &t.Detach }),
	wait("complete", recipe.DefaultTimeouts.Complete, "a snapshot to complete, with `--wait`", func(t *recipe.Timeouts) *time.Duration { return &t.Complete }),
	wait("mkfs", recipe.DefaultTimeouts.Mkfs, "`mkfs`", func(t *recipe.Timeouts) *time.Duration { return &t.Mkfs }),
	wait("mount", recipe.DefaultTimeouts.Mount, "`mount`, including journal replay", func(t *recipe.Timeouts) *time.Duration { return &t.Mount }),
}
