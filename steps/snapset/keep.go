package snapset

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Unlimited is the count of a rule of [Keep] that keeps one of every period, however many there are.
const Unlimited = -1

// Keep says which sets stay, in the words of `restic forget` and with their meaning there: of each hour, day, ISO week, month
// or year that has a set the newest one stays, for so many of them; empty periods do not count. The oldest set of all stays
// as long as a rule has counts left. A set stays when any rule keeps it.
// Source: https://github.com/restic/restic/blob/v0.18.1/internal/restic/snapshot_policy.go
type Keep struct {
	Last     int    `json:"last,omitempty"`
	Hourly   int    `json:"hourly,omitempty"`
	Daily    int    `json:"daily,omitempty"`
	Weekly   int    `json:"weekly,omitempty"`
	Monthly  int    `json:"monthly,omitempty"`
	Yearly   int    `json:"yearly,omitempty"`
	Within   Span   `json:"within,omitzero"`    // of the newest set
	Timezone string `json:"timezone,omitempty"` // IANA name of the calendar's zone; "" for UTC
}

// IsZero says that no rule keeps anything.
func (k Keep) IsZero() bool {
	return k.Last == 0 && k.Hourly == 0 && k.Daily == 0 && k.Weekly == 0 && k.Monthly == 0 && k.Yearly == 0 && k.Within.IsZero()
}

// String writes the rules as they are in the settings.
func (k Keep) String() string {
	var words []string
	for _, r := range k.rules() {
		if r.count != 0 {
			words = append(words, fmt.Sprintf("%s = %d", r.name, r.count))
		}
	}
	if !k.Within.IsZero() {
		words = append(words, fmt.Sprintf("%s = %q", RuleWithin, k.Within))
	}
	if k.Timezone != "" {
		words = append(words, fmt.Sprintf("timezone = %q", k.Timezone))
	}
	return strings.Join(words, ", ")
}

// Location is the zone of the calendar. It needs the time zone database of the machine, unless that is UTC.
func (k Keep) Location() (*time.Location, error) {
	if k.Timezone == "" {
		return time.UTC, nil
	}
	if k.Timezone == "Local" {
		return nil, errors.New(`"Local" would be another time zone on each machine; use a name such as "Europe/Berlin"`)
	}
	at, err := time.LoadLocation(k.Timezone)
	if err != nil {
		return nil, fmt.Errorf("cannot load the time zone %q: %w; use an IANA name such as \"Europe/Berlin\", and install tzdata if this machine has no /usr/share/zoneinfo", k.Timezone, err)
	}
	return at, nil
}

// A Rule is the name of a rule of [Keep].
type Rule string

// The rules, in the order in which their reasons are given.
const (
	RuleWithin  Rule = "within"
	RuleLast    Rule = "last"
	RuleHourly  Rule = "hourly"
	RuleDaily   Rule = "daily"
	RuleWeekly  Rule = "weekly"
	RuleMonthly Rule = "monthly"
	RuleYearly  Rule = "yearly"
)

// A Reason is a rule that keeps a set. Its JSON is part of the command line's contract.
type Reason struct {
	Rule   Rule   `json:"rule"`
	Period string `json:"period,omitempty"` // 2026-11-27T03, 2026-11-27, 2026-W48, 2026-11, 2026 or 2y5m7d3h; none of last
	Oldest bool   `json:"oldest,omitempty"` // only because it is the oldest of all, and the rule has counts left
}

// String is `daily 2026-11-27`, `last`, `within 14d`, or `oldest yearly 2026`.
func (r Reason) String() string {
	text := string(r.Rule)
	if r.Period != "" {
		text += " " + r.Period
	}
	if r.Oldest {
		text = "oldest " + text
	}
	return text
}

// rule keeps the newest of each of so many periods.
type rule struct {
	name   Rule
	count  int
	period func(t time.Time) string // equal for the times of one period; nil: each time is one of its own
}

func (k Keep) rules() [6]rule {
	in := func(layout string) func(time.Time) string {
		return func(t time.Time) string { return t.Format(layout) }
	}
	week := func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	}
	return [6]rule{{RuleLast, k.Last, nil}, {RuleHourly, k.Hourly, in("2006-01-02T15")}, {RuleDaily, k.Daily, in(time.DateOnly)},
		{RuleWeekly, k.Weekly, week}, {RuleMonthly, k.Monthly, in("2006-01")}, {RuleYearly, k.Yearly, in("2006")}}
}

// Reasons says of each of some times, newest first, which rules keep it; none for one that may go. A time after now is kept
// like others, but `within` does not count from it.
func (k Keep) Reasons(times []time.Time, zone *time.Location, now time.Time) [][]Reason {
	reasons := make([][]Reason, len(times))
	var since time.Time // within
	for _, t := range times {
		if t.Before(now) {
			w := k.Within
			since = t.In(zone).AddDate(-w.Years, -w.Months, -w.Days).Add(-time.Duration(w.Hours) * time.Hour)
			break
		}
	}
	rules, before := k.rules(), [6]string{}
	for i, t := range times {
		t = t.In(zone)
		if !k.Within.IsZero() && t.After(since) {
			reasons[i] = append(reasons[i], Reason{Rule: RuleWithin, Period: k.Within.String()})
		}
		for j := range rules {
			r := &rules[j]
			if r.count == 0 {
				continue
			}
			period, same := "", false
			if r.period != nil {
				period = r.period(t)
				same = i > 0 && period == before[j]
			}
			if same && i < len(times)-1 {
				continue
			}
			reasons[i], before[j] = append(reasons[i], Reason{Rule: r.name, Period: period, Oldest: same}), period
			if r.count > 0 {
				r.count--
			}
		}
	}
	return reasons
}

// A Span is a duration by the calendar.
type Span struct {
	Years  int `json:"years,omitempty"`
	Months int `json:"months,omitempty"`
	Days   int `json:"days,omitempty"`
	Hours  int `json:"hours,omitempty"`
}

// IsZero says that it is empty.
func (s Span) IsZero() bool { return s == Span{} }

// String is the form that ParseSpan reads: 2y5m7d3h.
func (s Span) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit byte
	}{{s.Years, 'y'}, {s.Months, 'm'}, {s.Days, 'd'}, {s.Hours, 'h'}} {
		if part.n != 0 {
			fmt.Fprintf(&b, "%d%c", part.n, part.unit)
		}
	}
	return cmp.Or(b.String(), "0h")
}

// maxSpan is how many of a unit a span may have: nobody keeps anything longer, and nothing overflows.
const maxSpan = 100_000

// ParseSpan reads a duration as restic writes it: years, months, days and hours, such as 2y5m7d3h. m is a month.
func ParseSpan(text string) (s Span, err error) {
	rest := strings.TrimSpace(text)
	if rest == "" {
		return s, errors.New("it is empty")
	}
	for rest != "" {
		at := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		switch at {
		case 0:
			return Span{}, fmt.Errorf("there is no number before %q", rest)
		case -1:
			return Span{}, fmt.Errorf("there is no unit after %q", rest)
		}
		n, err := strconv.Atoi(rest[:at])
		if err != nil || n > maxSpan {
			return Span{}, fmt.Errorf("%s is more than %d", rest[:at], maxSpan)
		}
		to := map[byte]*int{'y': &s.Years, 'm': &s.Months, 'd': &s.Days, 'h': &s.Hours}[rest[at]]
		if to == nil {
			return Span{}, fmt.Errorf("the unit after %q must be y, m (months), d or h", rest[:at])
		}
		if *to != 0 {
			return Span{}, fmt.Errorf("the unit %c is given twice", rest[at])
		}
		*to, rest = n, rest[at+1:]
	}
	return s, nil
}
