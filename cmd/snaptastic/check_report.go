package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/steps/snapset"
)

// Exit codes of a Nagios plugin.
// Source: https://nagios-plugins.org/doc/guidelines.html
const (
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// checked is what a check came to.
type checked struct {
	At       time.Time
	MaxAge   time.Duration
	Verdicts []verdict
}

func (c checked) gaps() (gaps []verdict) {
	for _, v := range c.Verdicts {
		if !v.OK {
			gaps = append(gaps, v)
		}
	}
	return gaps
}

// inUse counts the volumes and the mount points that were judged.
func (c checked) inUse() (volumes, mountPoints int) {
	for _, v := range c.Verdicts {
		if v.VolumeID != "" {
			volumes++
		} else if v.MountPoint != "" {
			mountPoints++
		}
	}
	return volumes, mountPoints
}

// summary is the outcome in one line.
func (c checked) summary() string {
	gaps := c.gaps()
	if len(gaps) > 0 {
		return plural(len(gaps), "gap") + " in " + snapset.ToTheSecond(c.MaxAge)
	}
	volumes, points := c.inUse()
	return fmt.Sprintf("%s in use on %s, each with a restorable snapshot of the last %s", plural(volumes, "volume"), plural(points, "mount point"), snapset.ToTheSecond(c.MaxAge))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// subjectOf says what a verdict is about.
func (v verdict) subjectOf() string {
	text := strings.TrimSpace(v.Subject + " " + v.MountPoint)
	if v.VolumeID != "" {
		text += " " + v.VolumeID + " on " + v.InstanceID
	}
	return text
}

// report writes the outcome; its error carries the exit code and has nothing
// more to say.
func (a *app) report(c checked, format string) error {
	var err error
	switch {
	case a.json():
		err = c.writeJSON(a.stdout)
	case format == "nagios":
		if err = c.nagios(a.stdout); err == nil && len(c.gaps()) > 0 {
			return exitCode(nagiosCritical)
		}
	case format == "prometheus":
		err = c.prometheus(a.stdout)
	default:
		err = c.text(a.stdout, a.style(a.stdoutFile))
	}
	if err != nil || len(c.gaps()) == 0 {
		return err
	}
	return &engine.Error{Code: engine.Failed, Err: errors.New(c.summary()), InResult: true}
}

func (c checked) writeJSON(w io.Writer) error {
	return render.JSON(w, struct {
		OK            bool      `json:"ok"`
		CheckedAt     time.Time `json:"checked_at"`
		MaxAgeSeconds int64     `json:"max_age_seconds"`
		Gaps          int       `json:"gaps"`
		Verdicts      []verdict `json:"verdicts"`
	}{len(c.gaps()) == 0, c.At, int64(c.MaxAge / time.Second), len(c.gaps()), c.Verdicts})
}

func (c checked) text(w io.Writer, o render.Style) error {
	var rows [][]string
	var gaps []string
	for _, v := range c.Verdicts {
		state, age := "ok", "-"
		if !v.OK {
			state = "GAP"
			gaps = append(gaps, v.subjectOf()+": "+v.Problem)
		}
		if v.DataTime != nil {
			age = render.Age(max(0, c.At.Sub(*v.DataTime)))
		}
		rows = append(rows, []string{state, age, cmp.Or(v.MountPoint, "-"), cmp.Or(v.SnapshotID, "-"), cmp.Or(v.VolumeID, "any"), cmp.Or(v.InstanceID, "-"), v.Subject})
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Compare(a[0], b[0]) }) // GAP before ok
	if err := render.Verdicts(w, []string{"STATE", "AGE", "MOUNT POINT", "SNAPSHOT", "VOLUME", "INSTANCE", "SNAPSHOTTER"}, rows, gaps, "gap", o); err != nil {
		return err
	}
	if len(gaps) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", c.summary())
	return err
}

// nagios writes one status line with performance data, then the gaps as long
// text. The age of each mount point's newest snapshot is one datum.
func (c checked) nagios(w io.Writer) error {
	gaps := c.gaps()
	word, says := "OK", c.summary()
	if len(gaps) > 0 {
		word, says = "CRITICAL", fmt.Sprintf("%s: %s: %s", plural(len(gaps), "gap"), gaps[0].subjectOf(), gaps[0].Problem)
	}
	data := []string{fmt.Sprintf("gaps=%d;;0;0", len(gaps))}
	for _, v := range c.Verdicts {
		if v.VolumeID == "" && v.AgeSeconds != nil {
			data = append(data, fmt.Sprintf("'%s'=%ds;;%d;0", nagiosLabel(v.subjectOf()), max(0, *v.AgeSeconds), int64(c.MaxAge/time.Second)))
		}
	}
	lines := []string{"SNAPTASTIC " + word + " - " + nagiosText(says) + " | " + strings.Join(data, " ")}
	for _, v := range gaps {
		lines = append(lines, nagiosText(v.subjectOf()+": "+v.Problem))
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

// nagiosText keeps a text on one line, out of the performance data.
func nagiosText(s string) string {
	return strings.ReplaceAll(render.Clean(s), "|", "/")
}

// nagiosLabel: a quoted label may hold neither = nor '.
func nagiosLabel(s string) string {
	return strings.NewReplacer("=", ":", "'", "_").Replace(nagiosText(s))
}

// nagiosUnknown tells a check that could not look as a plugin does.
func (a *app) nagiosUnknown(err error) error {
	if _, told := errors.AsType[exitCode](err); err == nil || told {
		return err
	}
	text := err.Error()
	if diags, ok := errors.AsType[*settings.Error](err); ok {
		var b strings.Builder
		_ = diags.Render(&b, 0, false)
		text = b.String()
	}
	if fault, ok := errors.AsType[*ec2.Fault](err); ok && fault.Hint != "" {
		text += "; " + fault.Hint
	}
	if _, werr := fmt.Fprintln(a.stdout, "SNAPTASTIC UNKNOWN - "+nagiosText(text)); werr != nil {
		return werr
	}
	return exitCode(nagiosUnknown)
}

// prometheus writes what node_exporter's textfile collector reads.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
func (c checked) prometheus(w io.Writer) error {
	var b strings.Builder
	family := func(name, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name) }
	one := func(name, help string, value int64) {
		family(name, help)
		fmt.Fprintf(&b, "%s %d\n", name, value)
	}
	one("snaptastic_check_timestamp_seconds", "When the check was made.", c.At.Unix())
	one("snaptastic_check_max_age_seconds", "Age from which a snapshot is too old.", int64(c.MaxAge/time.Second))
	one("snaptastic_check_gaps", "Mount points and volumes that lack a recent restorable snapshot.", int64(len(c.gaps())))
	each := func(name, help string, volumes bool, value func(verdict) (int64, bool)) {
		family(name, help)
		for _, v := range c.Verdicts {
			if n, known := value(v); known && (v.VolumeID != "") == volumes {
				fmt.Fprintf(&b, "%s{%s} %d\n", name, v.labels(), n)
			}
		}
	}
	ok := func(v verdict) (int64, bool) {
		if v.OK {
			return 1, true
		}
		return 0, true
	}
	newest := func(v verdict) (int64, bool) {
		if v.DataTime == nil {
			return 0, false
		}
		return v.DataTime.Unix(), true
	}
	each("snaptastic_mount_point_ok", "1 if the mount point is in use and has a recent restorable snapshot.", false, ok)
	each("snaptastic_mount_point_newest_snapshot_timestamp_seconds", "Time of the data of the mount point's newest restorable snapshot; absent without one.", false, newest)
	each("snaptastic_volume_ok", "1 if the volume has a recent restorable snapshot.", true, ok)
	each("snaptastic_volume_newest_snapshot_timestamp_seconds", "Time of the data of the volume's newest restorable snapshot; absent without one.", true, newest)
	_, err := io.WriteString(w, b.String())
	return err
}

func (v verdict) labels() string {
	// The format's escapes are those three.
	replace := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace
	escape := func(s string) string { return replace(render.Clean(s)) }
	text := fmt.Sprintf(`snapshotter="%s",mount_point="%s"`, escape(v.Subject), escape(v.MountPoint))
	if v.VolumeID != "" {
		text += fmt.Sprintf(`,volume_id="%s",instance_id="%s"`, escape(v.VolumeID), escape(v.InstanceID))
	}
	return text
}
