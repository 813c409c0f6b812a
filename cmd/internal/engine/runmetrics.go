package engine

import (
	"time"
)

// RunMetrics is how the last run of an operation on a snapshotter ended, for monitoring.
type RunMetrics struct {
	Operation, Snapshotter string
	Last                   RunState  // the newest one that is not live
	Success                time.Time // when the newest one that is done ended; zero for none
	FrozenSeconds          float64   // of Last: the longest freeze of a file system
}

// MetricsOf finds the last run of each operation on each snapshotter among runs, which are sorted by time, and counts those
// that are neither live nor ended: one that failed or was killed is the last one as well. Runs whose journals are pruned are not known.
func (e *Engine) MetricsOf(runs []RunState) (metrics []RunMetrics, unfinished int) {
	at := map[[2]string]int{}
	for _, r := range runs {
		if r.Live {
			continue
		}
		if !r.Outcome.Ended() {
			unfinished++
		}
		if r.Damaged {
			continue
		}
		key := [2]string{r.Operation, r.Snapshotter}
		i, known := at[key]
		if !known {
			i, at[key] = len(metrics), len(metrics)
			metrics = append(metrics, RunMetrics{Operation: r.Operation, Snapshotter: r.Snapshotter})
		}
		metrics[i].Last = r
		if PhaseOf(r.Summary) == PhaseDone {
			metrics[i].Success = r.Ended
		}
	}
	for i := range metrics {
		details, err := e.Show(metrics[i].Last.Run)
		if err != nil {
			continue // pruned meanwhile
		}
		for _, r := range details.Records {
			if r.Facts != nil {
				metrics[i].FrozenSeconds = max(metrics[i].FrozenSeconds, r.Facts.FrozenSeconds)
			}
		}
	}
	return metrics, unfinished
}
