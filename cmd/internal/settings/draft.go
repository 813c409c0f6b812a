package settings

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"snaptastic/steps/recipe"
)

// A Draft is what a first settings file is written from: one snapshotter with the volumes that an instance has now.
type Draft struct {
	Name       string            // of the snapshotter
	Origin     string            // ends the sentence "Written by `snaptastic init` …"
	FilterTags map[string]string // at least one
	Volumes    []DraftVolume
	Notes      []string // sentences at the end, such as what was left out
}

// A DraftVolume is a volume with the comments that stand above it.
type DraftVolume struct {
	recipe.Volume
	Comments []string
}

// Text is the draft as a settings file, with comments.
func (d Draft) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written by `+"`snaptastic init`"+` %s.
# Reference: snaptastic.hcl(5). Check changes with `+"`snaptastic validate`"+`.

snapshotter %s {
  # A mount searches for snapshots with these tags, and adopts only volumes that have them.
  filter_tags = {
`, d.Origin, literal(d.Name))
	var tags [][2]string
	for _, key := range slices.Sorted(maps.Keys(d.FilterTags)) {
		name := key
		if !hclsyntax.ValidIdentifier(key) {
			name = literal(key)
		}
		tags = append(tags, [2]string{name, literal(d.FilterTags[key])})
	}
	align(&b, tags)
	b.WriteString(`  }

  # Which snapshots "snaptastic clean snapshots" keeps. Without keep or expire_after, all of them.
  # keep {
  #   daily  = 7
  #   weekly = 4
  # }
`)
	for _, v := range d.Volumes {
		b.WriteString(v.text())
	}
	b.WriteString(`
  # Programs to run before and after, for example to stop a database during a mount.
  # hook "pre_mounts" { command = ["systemctl", "stop", "postgresql"] }
  # hook "post_mounts" { command = ["systemctl", "start", "postgresql"] }
}
`)
	for _, n := range d.Notes {
		b.WriteString("\n# " + n)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// text is the block of one volume. What is as it would be without saying is left out, size and file system excepted.
func (v DraftVolume) text() string {
	var b strings.Builder
	b.WriteString("\n")
	for _, c := range v.Comments {
		b.WriteString("  # " + c + "\n")
	}
	fmt.Fprintf(&b, "  volume %s {\n", literal(v.Device))
	var lines [][2]string
	set := func(a argument, value string) { lines = append(lines, [2]string{a.row().name, value}) }
	set(mountPointAttr, literal(v.MountPoint))
	set(sizeAttr, strconv.Itoa(int(v.Size)))
	set(fileSystemAttr, literal(v.FileSystem))
	if len(v.MountOptions) > 0 {
		set(mountOptionsAttr, literal(strings.Join(v.MountOptions, ",")))
	}
	if v.VolumeType != volumeTypeAttr.otherwise {
		set(volumeTypeAttr, literal(v.VolumeType))
	}
	if v.IOPS > 0 {
		set(iopsAttr, strconv.Itoa(int(v.IOPS)))
	}
	if v.Throughput > 0 {
		set(throughputAttr, strconv.Itoa(int(v.Throughput)))
	}
	if v.Encrypted != nil && v.KMSKeyID == "" {
		set(encryptedAttr, strconv.FormatBool(*v.Encrypted))
	}
	for _, o := range []struct {
		attr  argument
		value string
	}{{kmsKeyIDAttr, v.KMSKeyID}, {ownerAttr, v.Owner}, {groupAttr, v.Group}, {modeAttr, v.Mode}} {
		if o.value != "" {
			set(o.attr, literal(o.value))
		}
	}
	if !v.DeleteOnTermination {
		set(deleteOnTerminationAttr, "false")
	}
	align(&b, lines)
	b.WriteString("  }\n")
	return b.String()
}

// align writes arguments as `terraform fmt` does.
func align(b *strings.Builder, lines [][2]string) {
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range lines {
		fmt.Fprintf(b, "    %-*s = %s\n", width, l[0], l[1])
	}
}

// literal quotes a text as HCL does, so that nothing in it is an expression.
func literal(text string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(text))
}

// Check says why the draft with this volume alone is not one that can be used as it is; nil if it is.
func (d Draft) Check(v DraftVolume, leadsTo func(string) (string, error)) error {
	d.Volumes, d.Notes = []DraftVolume{{Volume: v.Volume}}, nil
	f, err := Parse("settings", []byte(d.Text()))
	if err != nil {
		return err
	}
	spec, err := f.Spec(d.Name, Context{LeadsTo: leadsTo})
	if err != nil {
		return err
	}
	if got := spec.Volumes[0]; got.Device != v.Device || got.MountPoint != v.MountPoint {
		return fmt.Errorf("%q cannot be written in a settings file", v.MountPoint)
	}
	return nil
}

// FilterTagsOf are those of a resource's tags that filter_tags may have.
func FilterTagsOf(tags map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range tags {
		if tagProblem(key, value) == "" && value != "" {
			out[key] = value
		}
	}
	return out
}

// ValidName says whether a snapshotter may be called so.
func ValidName(name string) bool { return validName.MatchString(name) }

// Short is the first mistake in a few words, without the place.
func (e *Error) Short() string {
	d := e.diags[0]
	if d.Detail == "" {
		return d.Summary
	}
	return d.Detail
}
