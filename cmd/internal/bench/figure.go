package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Figure is one measured thing with its limit. Ratio is measured ÷ limit
// where less is better and limit ÷ measured where more is: up to 1 is within.
type Figure struct {
	Group    string  `json:"group"`
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Measured float64 `json:"measured"` // median
	Worst    float64 `json:"worst,omitempty"`
	Limit    float64 `json:"limit"`
	Ratio    float64 `json:"ratio"`
	Within   bool    `json:"within"`
	Samples  int     `json:"samples"`
	// Of what the limit is made, in a few words.
	Basis string `json:"basis,omitempty"`
}

// report is the JSON file.
type report struct {
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Kernel  string    `json:"kernel"`
	Figures []Figure  `json:"figures"`
}

// most adds a figure that must not exceed the limit.
func (b *bench) most(group, name, unit string, samples []float64, limit float64, basis string) {
	f := Figure{Group: group, Name: name, Unit: unit, Measured: median(samples), Worst: slices.Max(samples), Limit: limit, Samples: len(samples), Basis: basis}
	f.Ratio = f.Measured / limit
	f.Within = f.Ratio <= 1
	b.figures = append(b.figures, f)
}

// least adds a figure that must reach the limit.
func (b *bench) least(group, name, unit string, samples []float64, limit float64, basis string) {
	f := Figure{Group: group, Name: name, Unit: unit, Measured: median(samples), Worst: slices.Min(samples), Limit: limit, Samples: len(samples), Basis: basis}
	f.Ratio = limit / f.Measured
	f.Within = f.Ratio <= 1
	b.figures = append(b.figures, f)
}

func median(s []float64) float64 {
	s = slices.Sorted(slices.Values(s))
	return s[len(s)/2]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// table prints the figures aligned.
func table(figures []Figure) string {
	rows := [][]string{{"GROUP", "FIGURE", "MEASURED", "WORST", "LIMIT", "RATIO", "", "OF WHAT THE LIMIT IS MADE"}}
	for _, f := range figures {
		mark := "ok"
		if !f.Within {
			mark = "MISSED"
		}
		rows = append(rows, []string{f.Group, f.Name, number(f.Measured) + " " + f.Unit, number(f.Worst), number(f.Limit), fmt.Sprintf("%.2f", f.Ratio), mark, f.Basis})
	}
	var widths []int
	for i := range rows[0] {
		w := 0
		for _, r := range rows {
			w = max(w, len(r[i]))
		}
		widths = append(widths, w)
	}
	var out strings.Builder
	for _, r := range rows {
		line := ""
		for i, cell := range r {
			line += fmt.Sprintf("%-*s  ", widths[i], cell)
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
