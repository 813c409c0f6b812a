package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/plan"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
)

// A Draft is a settings file made from what is attached and mounted now. Its JSON is part of the command line's contract.
type Draft struct {
	File        string          `json:"file"` // where it was written; "-" for stdout
	Snapshotter string          `json:"snapshotter"`
	MountPoints []string        `json:"mount_points"`
	LeftOut     []LeftOutVolume `json:"left_out"`
	TagCommands []string        `json:"tag_commands"` // AWS CLI: a mount refuses the volumes until they have these tags

	Text string `json:"-"`
}

// A LeftOutVolume is attached and not in the draft.
type LeftOutVolume struct {
	VolumeID string `json:"volume_id"`
	Device   string `json:"device"`
	Reason   string `json:"reason"`
}

// Draft makes a settings file of the volumes that are attached to this instance and mounted, all but the root volume. name is
// the snapshotter's; "" for the instance's role, or "data".
func (e *Engine) Draft(ctx context.Context, name string) (Draft, error) {
	if name != "" && !settings.ValidName(name) {
		return Draft{}, usageError("--name %q: a snapshotter's name is 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit", name)
	}
	e.settingsIfAny()
	id, err := e.identity(ctx)
	if err != nil {
		return Draft{}, plan.WithHint("run init on the instance whose volumes it should describe. Elsewhere, start from examples/snaptastic.hcl, or try it with --sandbox", err)
	}
	c, err := e.cloud(ctx)
	if err != nil {
		return Draft{}, err
	}
	d := drafter{host: linux.New(e.Roots), instance: id.InstanceID}
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		if d.tags, err = c.Metadata().Tags(ctx); err == nil {
			d.attached, err = c.AttachedVolumes(ctx, id.InstanceID)
		}
		return err
	})
	if err != nil {
		return Draft{}, err
	}
	return d.draft(name)
}

// drafter is what a draft is made from.
type drafter struct {
	host     *linux.Host
	instance string
	tags     map[string]string // the instance's
	attached []ec2.Volume

	used    []ec2.Volume // in the order of settings.Draft's volumes
	leftOut []LeftOutVolume
}

func (d *drafter) draft(name string) (Draft, error) {
	sort.Slice(d.attached, func(i, j int) bool {
		a, _ := d.attached[i].On(d.instance)
		b, _ := d.attached[j].On(d.instance)
		return a.Device < b.Device
	})
	var file settings.Draft
	for _, v := range d.attached {
		at, _ := v.On(d.instance)
		volume, err := d.volume(v, at)
		switch {
		case errors.Is(err, errRootVolume):
		case err != nil:
			d.leftOut = append(d.leftOut, LeftOutVolume{v.ID, at.Device, oneLine(err.Error())})
		default:
			d.used, file.Volumes = append(d.used, v), append(file.Volumes, volume)
		}
	}
	file.FilterTags = d.filterTags(file.Volumes, name)
	if name == "" {
		if name = file.FilterTags["role"]; !settings.ValidName(name) {
			name = "data"
		}
	}
	file.Name = name
	d.check(&file)
	if len(file.Volumes) == 0 {
		return Draft{}, d.nothing()
	}
	out := Draft{Snapshotter: name, LeftOut: d.leftOut, MountPoints: []string{}, TagCommands: []string{}}
	if out.LeftOut == nil {
		out.LeftOut = []LeftOutVolume{}
	}
	for i, v := range file.Volumes {
		out.MountPoints = append(out.MountPoints, v.MountPoint)
		if !steps.HasTags(d.used[i].Tags, file.FilterTags, v.MountPoint) {
			out.TagCommands = append(out.TagCommands, tagCommand(d.used[i], file.FilterTags, v.MountPoint))
		}
	}
	file.Origin = fmt.Sprintf("on %s, %s, from the volumes that were attached and mounted", d.instance, time.Now().UTC().Format(time.DateOnly))
	file.Notes = notes(out)
	out.Text = file.Text()
	return out, nil
}

// check leaves out what the settings refuse.
func (d *drafter) check(file *settings.Draft) {
	all, used := file.Volumes, d.used
	file.Volumes, d.used = nil, nil
	for i, v := range all {
		err := file.Check(v, linux.ResolveMountPoint)
		if err == nil {
			file.Volumes, d.used = append(file.Volumes, v), append(d.used, used[i])
			continue
		}
		reason := err.Error()
		if mistakes, is := errors.AsType[*settings.Error](err); is {
			reason = mistakes.Short()
		}
		d.leftOut = append(d.leftOut, LeftOutVolume{used[i].ID, v.Device, oneLine(reason)})
	}
}

func (d *drafter) nothing() error {
	text := "no volume is attached besides the root volume"
	if len(d.leftOut) > 0 {
		l := d.leftOut[0]
		text = fmt.Sprintf("none of the %d volumes attached besides the root volume can be used; %s (%s): %s", len(d.leftOut), l.VolumeID, l.Device, l.Reason)
	}
	return hinted("attach and mount the volumes first, or start from examples/snaptastic.hcl", "cannot write settings: %s", text)
}

var errRootVolume = errors.New("the root volume")

// volume is the declaration of a volume as it is now.
func (d *drafter) volume(v ec2.Volume, at ec2.Attachment) (settings.DraftVolume, error) {
	var out settings.DraftVolume
	device, there, err := d.host.LookupDevice(linux.DeviceQuery{VolumeID: v.ID, Name: at.Device, Size: int64(v.Size) << 30})
	if err != nil {
		if linux.IsRootName(at.Device) {
			err = errRootVolume
		}
		return out, err
	}
	if !there {
		if linux.IsRootName(at.Device) {
			return out, errRootVolume
		}
		return out, errors.New("no device on this machine")
	}
	mounts, err := d.host.MountsOf(device)
	if err != nil {
		return out, err
	}
	if linux.IsRootName(at.Device) || slices.ContainsFunc(mounts, func(m linux.Mount) bool { return m.Target == "/" }) {
		return out, errRootVolume
	}
	i := slices.IndexFunc(mounts, func(m linux.Mount) bool { return m.Root == "/" })
	if i < 0 {
		return out, errors.New("not mounted")
	}
	m := mounts[i]
	if _, _, err := d.host.VolumeOf(m.Target); err != nil {
		return out, err
	}
	canonical, _, err := linux.CanonicalDeviceName(at.Device)
	if err != nil {
		return out, err
	}
	out.Volume = recipe.Volume{Device: canonical, MountPoint: m.Target, Size: v.Size, FileSystem: m.FileSystem, VolumeType: v.Type, DeleteOnTermination: at.DeleteOnTermination}
	limits := ebs.Types[v.Type]
	if limits.NeedsIOPS || v.Type == "gp3" && v.IOPS > ebs.GP3BaseIOPS {
		out.IOPS = v.IOPS
	}
	if limits.Throughput && v.Throughput > ebs.MinThroughput {
		out.Throughput = v.Throughput
	}
	if v.Encrypted {
		out.Encrypted, out.KMSKeyID = &v.Encrypted, v.KMSKeyID
	}
	for _, o := range m.Options {
		if slices.Contains(keptOptions, o) {
			out.MountOptions = append(out.MountOptions, o)
		}
	}
	out.Owner, out.Group, out.Mode = ownerOf(m.Target)
	out.Comments = []string{v.ID}
	if line, is := d.host.FstabLine(m.Target); is {
		out.Comments = append(out.Comments, fmt.Sprintf("Remove its line from fstab (%s): Snaptastic mounts it.", line.Place))
	}
	return out, nil
}

// keptOptions are the mount options that somebody must have asked for: no kernel sets them by itself.
var keptOptions = []string{"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "lazytime", "sync", "discard"}

// ownerOf is what a new file system there would have to be given; "" where the defaults are right.
func ownerOf(folder string) (owner, group, mode string) {
	info, err := os.Stat(folder)
	var st unix.Stat_t
	if err != nil || unix.Stat(folder, &st) != nil {
		return "", "", ""
	}
	if st.Uid != 0 {
		owner = strconv.Itoa(int(st.Uid))
		if u, err := user.LookupId(owner); err == nil {
			owner = u.Username
		}
	}
	if st.Gid != 0 {
		group = strconv.Itoa(int(st.Gid))
		if g, err := user.LookupGroupId(group); err == nil {
			group = g.Name
		}
	}
	if p := info.Mode().Perm(); p != 0o755 {
		mode = fmt.Sprintf("%04o", st.Mode&0o7777)
	}
	return owner, group, mode
}

// filterTags are those that the volumes have in common, if each is tagged with its mount point: a mount adopts them then.
// Otherwise the instance's.
func (d *drafter) filterTags(volumes []settings.DraftVolume, name string) map[string]string {
	own := settings.FilterTagsOf(d.tags)
	tagged := len(d.used) > 0
	var common map[string]string
	for i, v := range d.used {
		tagged = tagged && steps.HasTags(v.Tags, nil, volumes[i].MountPoint)
		if common == nil {
			common = settings.FilterTagsOf(v.Tags)
		}
		maps.DeleteFunc(common, func(key, value string) bool { return v.Tags[key] != value })
	}
	shared := maps.Clone(common)
	maps.DeleteFunc(shared, func(key, value string) bool { return own[key] != value })
	for _, tags := range []map[string]string{shared, common} {
		if tags = identifying(tags); tagged && len(tags) > 0 {
			return tags
		}
	}
	if tags := identifying(own); len(tags) > 0 {
		return tags
	}
	if name == "" {
		name = "data"
	}
	return map[string]string{"role": name}
}

// identifying are the tags that say whose volumes these are: the original's three if there are any, else all but the name of
// one resource.
func identifying(tags map[string]string) map[string]string {
	out := map[string]string{}
	for _, key := range []string{"role", "cluster", "environment"} {
		if value, is := tags[key]; is {
			out[key] = value
		}
	}
	if len(out) > 0 {
		return out
	}
	for key, value := range tags {
		if key != "Name" && len(out) < 10 {
			out[key] = value
		}
	}
	return out
}

// tagCommand gives a volume the tags that a mount looks for.
func tagCommand(v ec2.Volume, filter map[string]string, mountPoint string) string {
	command := "aws ec2 create-tags --resources " + v.ID + " --tags"
	add := func(key, value string) {
		if v.Tags[key] != value {
			command += " '" + strings.ReplaceAll(fmt.Sprintf("Key=%s,Value=%s", key, value), "'", `'\''`) + "'"
		}
	}
	for _, key := range slices.Sorted(maps.Keys(filter)) {
		add(key, filter[key])
	}
	add("mount_point", mountPoint)
	return command
}

// notes are the comments below the snapshotter.
func notes(d Draft) (lines []string) {
	if len(d.TagCommands) > 0 {
		lines = append(lines, "A mount refuses these volumes until they are tagged:")
		for _, c := range d.TagCommands {
			lines = append(lines, "  "+c)
		}
	}
	if len(d.LeftOut) > 0 {
		lines = append(lines, "Left out:")
		for _, l := range d.LeftOut {
			lines = append(lines, fmt.Sprintf("  %s (%s): %s", l.VolumeID, l.Device, l.Reason))
		}
	}
	return lines
}
