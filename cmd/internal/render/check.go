package render

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/plan/units"
)

// inUse counts the volumes and the mount points that were judged.
func inUse(c engine.CheckResult) (volumes, mountPoints int) {
	for _, v := range c.Findings {
		if v.VolumeID != "" {
			volumes++
		} else if v.MountPoint != "" && v.Region == "" {
			mountPoints++
		}
	}
	return volumes, mountPoints
}

// summaryOf is the outcome in one line.
func summaryOf(c engine.CheckResult) string {
	gaps := c.Gaps()
	if len(gaps) > 0 {
		return units.Count(len(gaps), "gap", "gaps") + " in " + units.Limit(c.MaxAge)
	}
	volumes, points := inUse(c)
	return fmt.Sprintf("%s in use on %s, each with a restorable snapshot of the last %s", units.Count(volumes, "volume", "volumes"), units.Count(points, "mount point", "mount points"), units.Limit(c.MaxAge))
}

// subjectOf says what a finding is about.
func subjectOf(v engine.CheckFinding) string {
	text := strings.TrimSpace(v.Subject + " " + v.MountPoint)
	if v.VolumeID != "" {
		text += " " + v.VolumeID + " on " + v.InstanceID
	}
	if v.Region != "" {
		text += " copied to " + v.Region
	}
	return text
}

// copyIn says where the copies are that a finding is about; "" for none.
func copyIn(v engine.CheckFinding) string {
	if v.Region == "" {
		return ""
	}
	return "copy in " + v.Region
}

// CheckJSON writes a check for programs.
func CheckJSON(w io.Writer, c engine.CheckResult) error {
	return JSON(w, checkView{len(c.Gaps()) == 0, c.At, int64(c.MaxAge / time.Second), len(c.Gaps()), c.Findings})
}

// CheckText writes a check as a table, gaps first.
func CheckText(w io.Writer, c engine.CheckResult, o Style) error {
	var rows [][]string
	var gaps []string
	for _, v := range c.Findings {
		state, age := "ok", "-"
		if !v.OK {
			state = "GAP"
			gaps = append(gaps, subjectOf(v)+": "+v.Problem)
		}
		if v.DataTime != nil {
			age = units.Age(c.At.Sub(*v.DataTime))
		}
		rows = append(rows, []string{state, age, cmp.Or(v.MountPoint, "-"), cmp.Or(v.SnapshotID, "-"), cmp.Or(v.VolumeID, copyIn(v), "any"), cmp.Or(v.InstanceID, "-"), v.Subject})
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Compare(a[0], b[0]) }) // GAP before ok
	if err := CheckTable(w, []string{"STATE", "AGE", "MOUNT POINT", "SNAPSHOT", "VOLUME", "INSTANCE", "SNAPSHOTTER"}, rows, gaps, "gap", o); err != nil {
		return err
	}
	if len(gaps) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", summaryOf(c))
	return err
}

// CheckNagios writes one status line with performance data, then the gaps as long
// text. The age of each mount point's newest snapshot is one datum.
func CheckNagios(w io.Writer, c engine.CheckResult) error {
	gaps := c.Gaps()
	word, says := "OK", summaryOf(c)
	if len(gaps) > 0 {
		word, says = "CRITICAL", fmt.Sprintf("%s: %s: %s", units.Count(len(gaps), "gap", "gaps"), subjectOf(gaps[0]), gaps[0].Problem)
	}
	data := []string{fmt.Sprintf("gaps=%d;;0;0", len(gaps))}
	for _, v := range c.Findings {
		if v.VolumeID == "" && v.AgeSeconds != nil {
			data = append(data, fmt.Sprintf("'%s'=%ds;;%d;0", nagiosLabel(subjectOf(v)), max(0, *v.AgeSeconds), int64(c.MaxAge/time.Second)))
		}
	}
	lines := []string{"SNAPTASTIC " + word + " - " + nagiosText(says) + " | " + strings.Join(data, " ")}
	for _, v := range gaps {
		lines = append(lines, nagiosText(subjectOf(v)+": "+v.Problem))
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

// nagiosText keeps a text on one line, out of the performance data.
func nagiosText(s string) string {
	return strings.ReplaceAll(Clean(s), "|", "/")
}

// nagiosLabel: a quoted label may hold neither = nor '.
func nagiosLabel(s string) string {
	return strings.NewReplacer("=", ":", "'", "_").Replace(nagiosText(s))
}

// CheckPrometheus writes what node_exporter's textfile collector reads.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
func CheckPrometheus(w io.Writer, c engine.CheckResult) error {
	var b strings.Builder
	family := func(name, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name) }
	one := func(name, help string, value int64) {
		family(name, help)
		fmt.Fprintf(&b, "%s %d\n", name, value)
	}
	one("snaptastic_check_timestamp_seconds", "Time of the check.", c.At.Unix())
	one("snaptastic_check_max_age_seconds", "Maximum age of a snapshot.", int64(c.MaxAge/time.Second))
	one("snaptastic_check_gaps", "Mount points and volumes without a recent restorable snapshot.", int64(len(c.Gaps())))
	each := func(name, help string, volumes bool, value func(engine.CheckFinding) (int64, bool)) {
		family(name, help)
		for _, v := range c.Findings {
			if n, known := value(v); known && v.Region == "" && (v.VolumeID != "") == volumes {
				fmt.Fprintf(&b, "%s{%s} %d\n", name, labels(v), n)
			}
		}
	}
	ok := func(v engine.CheckFinding) (int64, bool) {
		if v.OK {
			return 1, true
		}
		return 0, true
	}
	newest := func(v engine.CheckFinding) (int64, bool) {
		if v.DataTime == nil {
			return 0, false
		}
		return v.DataTime.Unix(), true
	}
	each("snaptastic_mount_point_ok", "1 if the mount point is in use and has a recent restorable snapshot.", false, ok)
	each("snaptastic_mount_point_newest_snapshot_timestamp_seconds", "Time of the data of the mount point's newest restorable snapshot; absent without one.", false, newest)
	verified := func(v engine.CheckFinding) (int64, bool) {
		if v.Verified == nil {
			return 0, false
		}
		return v.Verified.Unix(), true
	}
	each("snaptastic_mount_point_verified_timestamp_seconds", "Time of the last successful drill of the mount point's sets; absent without one.", false, verified)
	each("snaptastic_mount_point_restore_seconds", "Duration of that drill's restore; absent without one.", false, func(v engine.CheckFinding) (int64, bool) {
		return v.RestoreSeconds, v.Verified != nil
	})
	each("snaptastic_mount_point_verify_failed", "1 if the newest set that was drilled failed.", false, func(v engine.CheckFinding) (int64, bool) {
		if v.FailedReason != "" {
			return 1, true
		}
		return 0, true
	})
	each("snaptastic_volume_ok", "1 if the volume has a recent restorable snapshot.", true, ok)
	each("snaptastic_volume_newest_snapshot_timestamp_seconds", "Time of the data of the volume's newest restorable snapshot; absent without one.", true, newest)
	copies := func(name, help string, value func(engine.CheckFinding) (int64, bool)) {
		family(name, help)
		for _, v := range c.Findings {
			if n, known := value(v); known && v.Region != "" {
				fmt.Fprintf(&b, "%s{%s,region=\"%s\"} %d\n", name, labels(v), v.Region, n)
			}
		}
	}
	if slices.ContainsFunc(c.Findings, func(v engine.CheckFinding) bool { return v.Region != "" }) {
		copies("snaptastic_copy_ok", "1 if the newest complete copy in the region is recent enough.", ok)
		copies("snaptastic_copy_newest_snapshot_timestamp_seconds", "Time of the data of the newest complete copy in the region; absent without one.", newest)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func labels(v engine.CheckFinding) string {
	text := fmt.Sprintf(`snapshotter="%s",mount_point="%s"`, promLabel(v.Subject), promLabel(v.MountPoint))
	if v.VolumeID != "" {
		text += fmt.Sprintf(`,volume_id="%s",instance_id="%s"`, promLabel(v.VolumeID), promLabel(v.InstanceID))
	}
	return text
}

// NagiosUnknown writes what a check that failed says to Nagios.
func NagiosUnknown(w io.Writer, why string) error {
	_, err := fmt.Fprintln(w, "SNAPTASTIC UNKNOWN - "+nagiosText(why))
	return err
}
