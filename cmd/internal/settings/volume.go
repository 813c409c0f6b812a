package settings

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/steps/recipe"
)

const maxOffset = 21 // sde to sdz

// volumes reads all volume blocks, the dynamic ones expanded already.
func (r *reader) volumes(owner *hcl.Block, blocks hcl.Blocks, spec *recipe.Spec) {
	devices, mounts := map[string]recipe.Volume{}, map[string]declared{}
	for _, block := range blocks {
		before := len(r.diags)
		who := fmt.Sprintf("the volume %q", block.Labels[0])
		if _, _, err := linux.CanonicalDeviceName(block.Labels[0]); err != nil {
			who = "a volume without a device name" // the label may be anything of the userdata
		}
		r.who = turn(block, who)
		v := r.volume(block)
		if other, twice := devices[deviceKey(v.Device)]; twice && v.Device != "" {
			r.mistake(block.LabelRanges[0], "Duplicate device", "%s", sameDevice(v, other, block.Labels[0]))
		}
		r.clash(block, v, spec.Volumes)
		if other, twice := mounts[v.Place()]; twice && v.MountPoint != "" {
			r.mistake(block.DefRange, "Duplicate mount point", "%s", sameFolder(v, other))
		}
		r.who = ""
		devices[deviceKey(v.Device)], mounts[v.Place()] = v, declared{v, block.DefRange}
		if !r.diags[before:].HasErrors() {
			spec.Volumes = append(spec.Volumes, v)
		}
	}
	if len(blocks) == 0 && !r.diags.HasErrors() { // a dynamic block that failed has its own diagnostic
		r.mistake(owner.DefRange, "No volumes",
			"The snapshotter %q has no volume. Expected a block such as volume \"/dev/sdf\" { mount_point = \"/mnt/data\" }, or a dynamic one with something to iterate over.", spec.Name)
	}
}

// clash finds two volumes that a Xen kernel would show under one name, each moved by its offset.
func (r *reader) clash(block *hcl.Block, v recipe.Volume, before []recipe.Volume) {
	for _, o := range before {
		if v.Device == "" || deviceKey(v.Device) == deviceKey(o.Device) || !linux.SameKernelName(v.Device, v.DeviceNameOffset, o.Device, o.DeviceNameOffset) {
			continue
		}
		r.mistake(block.LabelRanges[0], "Duplicate device",
			"With device_name_offset = %d, %s is what a Xen kernel calls %s with device_name_offset = %d (mounted at %s), too. The offset is the kernel's: give all volumes the same.",
			v.DeviceNameOffset, v.Device, o.Device, o.DeviceNameOffset, o.MountPoint)
	}
}

// declared is a volume and the line that declares it.
type declared struct {
	recipe.Volume
	at hcl.Range
}

func sameFolder(v recipe.Volume, other declared) string {
	if v.MountPoint == other.MountPoint {
		return fmt.Sprintf("%s is the mount point of the volume %s already.", v.MountPoint, other.Device)
	}
	var leads []string
	for _, one := range []recipe.Volume{v, other.Volume} {
		if one.Place() != one.MountPoint {
			leads = append(leads, one.MountPoint+" leads to "+one.Place())
		}
	}
	return fmt.Sprintf("%s and %s, the mount point of the volume %s (%s), are one folder: %s. One volume would be hidden under the other; give each a folder of its own.",
		v.MountPoint, other.MountPoint, other.Device, place(other.at), strings.Join(leads, ", and "))
}

func sameDevice(v, other recipe.Volume, label string) string {
	switch {
	case v.Device != other.Device:
		return fmt.Sprintf("%s and %s (mounted at %s) are one device to the kernel of a Xen instance; give it another letter.", v.Device, other.Device, other.MountPoint)
	case v.Device != label:
		return fmt.Sprintf("%s stands for %s, which the volume mounted at %s has already: EC2 knows the letter alone, so each volume needs a letter of its own.", label, v.Device, other.MountPoint)
	}
	return fmt.Sprintf("%s is the device of the volume mounted at %s already.", v.Device, other.MountPoint)
}

// turn names a block that a dynamic block made, whose lines do not tell it
// from its siblings; "" for a plain block.
func turn(block *hcl.Block, name string) string {
	content, _, _ := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "mount_point"}, {Name: "command"}}})
	for _, attr := range content.Attributes {
		if _, written := attr.Expr.(hclsyntax.Expression); !written { // wrapped for its turn
			return name
		}
	}
	return ""
}

func (r *reader) volume(block *hcl.Block) recipe.Volume {
	content, diags := block.Body.Content(volumeShape.schema())
	r.diags = append(r.diags, diags...)
	attrs := content.Attributes
	v := recipe.Volume{
		Device: r.device(block), MountPoint: r.mountPoint(mountPointAttr.in(attrs)), FileSystem: fileSystemAttr.value(r, attrs),
		MountOptions: mountOptionsAttr.value(r, attrs), MkfsOptions: mkfsOptionsAttr.value(r, attrs),
		Owner: ownerAttr.value(r, attrs), Group: groupAttr.value(r, attrs), Mode: modeAttr.value(r, attrs),
		InitializationRate: int32(initializationRateAttr.value(r, attrs)), DeleteOnTermination: deleteOnTerminationAttr.value(r, attrs),
	}
	v.Warm = warmAttr.value(r, attrs)
	if rate, ok := warmRateAttr.given(r, attrs); ok && v.Warm != nil {
		v.Warm.Rate = int32(rate)
	}
	v.LeadsTo = r.follow(mountPointAttr.in(attrs), v.MountPoint)
	r.capacity(attrs, block.DefRange, &v)
	r.encryption(attrs, &v)
	if offset, ok := deviceNameOffsetAttr.given(r, attrs); ok {
		v.DeviceNameOffset, v.Unshifted = int(offset), offset == 0
		if v.Device != "" && !offsetFits(v.Device, offset) {
			r.invalid(deviceNameOffsetAttr.in(attrs), "%s moved by %d letters is past the alphabet.", v.Device, offset)
		}
	}
	return v
}

// device reads the label; "" when it is none that EC2 takes.
func (r *reader) device(block *hcl.Block) string {
	label, at := block.Labels[0], block.LabelRanges[0]
	if label == unknownLabel {
		return ""
	}
	canonical, translated, err := linux.CanonicalDeviceName(label)
	switch {
	case err != nil && r.who != "":
		r.mistake(at, "Invalid device name", "The label that is made here is not a device name that EC2 takes: use /dev/sdf to /dev/sdp.")
		return ""
	case err != nil:
		text := err.Error()
		r.mistake(at, "Invalid device name", "%s.", strings.ToUpper(text[:1])+text[1:])
		return ""
	case translated:
		why := "only paravirtual instances know numbered names, and EC2 has none of those left"
		if strings.HasSuffix(canonical, "/"+label) {
			why = "EC2 device names begin with /dev/"
		}
		r.caution(at, "Device name translated", "%q is read as %q: %s. Write the latter.", label, canonical, why)
	}
	return canonical
}

// follow says where a mount point leads to; "" for itself.
func (r *reader) follow(attr *hcl.Attribute, mountPoint string) string {
	if r.leadsTo == nil || mountPoint == "" {
		return ""
	}
	leads, err := r.leadsTo(mountPoint)
	if err != nil {
		r.invalid(attr, "Nothing can be mounted at %s: %v.", mountPoint, err)
	}
	if err != nil || leads == mountPoint {
		return ""
	}
	return leads
}

func (r *reader) mountPoint(attr *hcl.Attribute) string {
	const want = "an absolute path such as \"/mnt/data\""
	if attr == nil {
		return "" // the shape's own diagnostic says that it is missing
	}
	before := r.noted()
	text, ok := r.text(attr, want)
	clean := path.Clean(text)
	switch {
	case !ok && r.noted() == before:
		r.invalid(attr, "Expected %s; got null.", want)
	case !ok:
	case !strings.HasPrefix(text, "/"):
		r.invalid(attr, "Expected %s; got %q.", want, text)
	case clean == "/":
		r.invalid(attr, "Expected %s; %q is the root of the running system.", want, text)
	case linux.IsSystemPath(clean):
		r.invalid(attr, "A volume mounted at %s would hide a part of the running system.", clean)
	case strings.Contains(text, ","):
		r.invalid(attr, "A mount point must not hold a comma; got %q.", text)
	case !utf8.ValidString(text):
		r.invalid(attr, "A mount point must be UTF-8 text; got %q.", text)
	case utf8.RuneCountInString(clean) > maxTagValue:
		r.invalid(attr, "A mount point has at most %d characters, since it is written into a tag; this one has %d.", maxTagValue, utf8.RuneCountInString(clean))
	default:
		if clean != text {
			r.caution(attr.Expr.Range(), "Mount point cleaned", "%q is read as %q, in the tags of volumes and snapshots, too.", text, clean)
		}
		return clean
	}
	return ""
}

// foreignMounts are options that make mount do something else than mount a volume.
var foreignMounts = []string{"bind", "rbind", "remount", "move", "loop"}

func (r *reader) mountOptions(attr *hcl.Attribute) []string {
	const want = "mount options such as \"noatime,discard\""
	words, ok := r.words(attr, splitCommas, want)
	if !ok {
		return nil
	}
	var options []string
	for _, word := range words {
		switch name, _, _ := strings.Cut(word, "="); {
		case word == "defaults":
		case word == "" || strings.ContainsFunc(word, isControl) || strings.Contains(word, " "):
			r.invalid(attr, "Expected %s; %q is no option.", want, word)
		case strings.Contains(word, ",") && !strings.Contains(word, `"`):
			r.invalid(attr, "Expected %s; %q holds a comma: write one option an element.", want, word)
		case slices.Contains(foreignMounts, name):
			r.invalid(attr, "The option %q does not mount a volume; Snaptastic cannot use it.", word)
		default:
			options = append(options, word)
		}
	}
	return options
}

// warm reads true, false, or globs.
func (r *reader) warm(attr *hcl.Attribute) *recipe.Warm {
	const want = "true, false, or globs such as [\"pg_wal/**\", \"base/**\"]"
	value, ok := r.value(attr)
	if !ok {
		return nil
	}
	if value.Type() == cty.Bool {
		if value.True() {
			return &recipe.Warm{}
		}
		return nil
	}
	globs, ok := r.words(attr, nil, want)
	if !ok {
		return nil
	}
	for _, glob := range globs {
		if err := linux.CheckGlob(glob); err != nil {
			r.invalid(attr, "%q is not a pattern: %v.", glob, err)
		}
	}
	return &recipe.Warm{First: globs}
}

// userName is what useradd(8) takes, or a number; octalMode what chmod(1) takes in octal.
var (
	userName  = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,9})$`)
	octalMode = regexp.MustCompile(`^0?[0-7]{3,4}$`)
)

// otherDevice is the log, journal or realtime device of xfs and ext4.
var otherDevice = regexp.MustCompile(`(^|,|-[A-Za-z])(logdev|rtdev|device)=`)

var xfsUUID = regexp.MustCompile(`(^|,)uuid=`)

func (r *reader) mkfsOptions(attr *hcl.Attribute) []string {
	const want = "mkfs options, as a string such as \"-m reflink=1\" or as a list of words"
	words, ok := r.words(attr, splitWords, want)
	if !ok {
		return nil
	}
	var options []string
	for _, word := range words {
		switch {
		case word == "" || strings.ContainsFunc(word, isControl):
			r.invalid(attr, "Expected %s; %q is no option.", want, word)
		case strings.HasPrefix(word, "/dev/"):
			r.invalid(attr, "%q looks like a device; Snaptastic adds the volume's own itself.", word)
		case strings.Contains(word, "/dev/") || otherDevice.MatchString(word): // mkfs is forced, and would not ask what is on it
			r.invalid(attr, "%q names another device; a file system lies on its volume alone.", word)
		case strings.HasPrefix(word, "-U") || xfsUUID.MatchString(word):
			r.invalid(attr, "%q sets the file system's UUID, which Snaptastic chooses, so that it knows its own file systems after a crash.", word)
		default:
			options = append(options, word)
		}
	}
	return options
}

// capacity reads size, type and rates, and holds them against each other.
func (r *reader) capacity(attrs hcl.Attributes, at hcl.Range, v *recipe.Volume) {
	unknowns := r.unknowns
	name := volumeTypeAttr.value(r, attrs)
	limits := ebs.Types[name]
	size, sized := sizeAttr.given(r, attrs)
	if !sized {
		size = sizeAttr.otherwise
	}
	v.VolumeType, v.Size = name, int32(size)
	iops, asked := r.integer(iopsAttr.in(attrs), "a whole number")
	if r.unknowns > unknowns { // each is held against the others
		return
	}
	if size < limits.MinSize || size > limits.MaxSize {
		problem := fmt.Sprintf("A volume of type %s has %d to %d GiB; got %d.", name, limits.MinSize, limits.MaxSize, size)
		if sized {
			r.invalid(sizeAttr.in(attrs), "%s", problem)
		} else if sizeAttr.in(attrs) == nil {
			r.invalid(volumeTypeAttr.in(attrs), "%s (the default size).", strings.TrimSuffix(problem, "."))
		}
		return
	}
	switch {
	case asked:
		if problem := iopsProblem(limits, name, iops, size); problem != "" {
			if volumeTypeAttr.in(attrs) == nil {
				problem += " Without volume_type a volume is gp3; the original Snaptastic took iops to mean io1: write volume_type = \"io1\" for that."
			}
			r.invalid(iopsAttr.in(attrs), "%s", problem)
			return
		}
		v.IOPS = int32(iops)
	case limits.NeedsIOPS && iopsAttr.in(attrs) == nil:
		r.mistake(at, "Missing iops", "A volume of type %s needs iops, %d to %d.", name, limits.MinIOPS, limits.MaxIOPS)
	}
	if throughput, ok := r.integer(throughputAttr.in(attrs), "a whole number of MiB/s"); ok {
		if problem := throughputProblem(limits, name, throughput, iops); problem != "" {
			r.invalid(throughputAttr.in(attrs), "%s", problem)
			return
		}
		v.Throughput = int32(throughput)
	}
}

// kmsKey is a key's id, alias or ARN, as CreateVolume takes them. EC2 checks
// it only after it has answered, and the volume then fails without a word.
var kmsKey = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+|alias/[A-Za-z0-9/_-]+|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

func (r *reader) encryption(attrs hcl.Attributes, v *recipe.Volume) {
	if truth, ok := r.boolean(encryptedAttr.in(attrs)); ok {
		v.Encrypted = &truth
	}
	const want = "a KMS key's id, alias (alias/…) or ARN"
	key, ok := r.text(kmsKeyIDAttr.in(attrs), want)
	switch {
	case !ok:
	case !kmsKey.MatchString(key):
		r.invalid(kmsKeyIDAttr.in(attrs), "Expected %s; got %q.", want, key)
	case v.Encrypted != nil && !*v.Encrypted:
		r.invalid(kmsKeyIDAttr.in(attrs), "A volume with encrypted = false has no key; leave one of the two away.")
	default:
		yes := true // EC2 refuses a key without it
		v.KMSKeyID, v.Encrypted = key, &yes
	}
}
