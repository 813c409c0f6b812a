package journal

import (
	"cmp"
	"iter"
	"sort"
	"time"
)

// Active is how long processes were at work on these steps: the union of the times between their starts and ends. What lies
// between two of them, such as a machine that was down, does not count. A step without an end is taken to have ended at
// until; with a zero until, or one before its start, it does not count.
func Active(records iter.Seq[Record], until time.Time) time.Duration {
	type interval struct{ from, to time.Time }
	var all []interval
	for r := range records {
		to := r.EndedAt
		if to.IsZero() {
			to = until
		}
		if !r.StartedAt.IsZero() && to.After(r.StartedAt) {
			all = append(all, interval{r.StartedAt, to})
		}
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to)) < 0
	})
	var sum time.Duration
	var end time.Time // of what was counted
	for _, i := range all {
		if i.from.Before(end) {
			i.from = end
		}
		if i.to.After(i.from) {
			sum += i.to.Sub(i.from)
			end = i.to
		}
	}
	return sum
}
