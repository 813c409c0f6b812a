package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"snaptastic/cmd/internal/engine"
)

// RunsPrometheus writes what node_exporter's textfile collector reads of runs.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
func RunsPrometheus(w io.Writer, all []engine.RunMetrics, unfinished int) error {
	var b strings.Builder
	family := func(name, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name) }
	family("snaptastic_runs_unfinished", "Runs that are interrupted or failed, and neither resumed, rolled back nor abandoned.")
	fmt.Fprintf(&b, "snaptastic_runs_unfinished %d\n", unfinished)
	each := func(name, help string, value func(engine.RunMetrics) (float64, bool)) {
		family(name, help)
		for _, m := range all {
			if v, known := value(m); known {
				fmt.Fprintf(&b, "%s{operation=\"%s\",snapshotter=\"%s\"} %s\n", name, promLabel(m.Operation), promLabel(m.Snapshotter), strconv.FormatFloat(v, 'f', -1, 64))
			}
		}
	}
	each("snaptastic_run_success_timestamp_seconds", "End of the newest run that succeeded; absent without one.", func(m engine.RunMetrics) (float64, bool) {
		return float64(m.Success.Unix()), !m.Success.IsZero()
	})
	each("snaptastic_run_last_timestamp_seconds", "End of the newest run; absent if it was killed.", func(m engine.RunMetrics) (float64, bool) {
		return float64(m.Last.Ended.Unix()), !m.Last.Ended.IsZero()
	})
	each("snaptastic_run_last_success", "1 if the newest run succeeded.", func(m engine.RunMetrics) (float64, bool) {
		if engine.PhaseOf(m.Last.Summary) == engine.PhaseDone {
			return 1, true
		}
		return 0, true
	})
	each("snaptastic_run_last_duration_seconds", "Time from the beginning of the newest run to its end; absent if it was killed.", func(m engine.RunMetrics) (float64, bool) {
		return m.Last.Ended.Sub(m.Last.Created).Seconds(), !m.Last.Ended.IsZero()
	})
	each("snaptastic_run_last_frozen_seconds", "Longest freeze of a file system in the newest run; absent where nothing was frozen.", func(m engine.RunMetrics) (float64, bool) {
		return m.FrozenSeconds, m.FrozenSeconds > 0
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// promLabel is the value of a label. The format's escapes are those three.
func promLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(Clean(s))
}
