package report

import (
	"strings"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
)

// Forty freezes, each of one file system, are not forty bands and forty labels on top of each other.
func TestFreezesThatOverlapAreOneBandNamedByTheLongest(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	window := func(from, to int) engine.Window {
		return engine.Window{From: at(from - 10), To: at(to + 10), FrozenFrom: at(from), FrozenTo: at(to), FrozenSeconds: at(to).Sub(at(from)).Seconds()}
	}
	for _, tt := range []struct {
		windows []engine.Window
		bands   int
		labels  []string
	}{
		{nil, 0, nil},
		{[]engine.Window{{From: at(0), To: at(10)}}, 0, nil},
		{[]engine.Window{window(200, 300)}, 1, []string{"❄ 100 ms"}},
		{[]engine.Window{window(300, 350), window(200, 310), window(340, 345)}, 1, []string{"❄ 3 freezes, longest 110 ms"}},
		{[]engine.Window{window(700, 900), window(100, 150)}, 2, []string{"❄ 50 ms", "❄ 200 ms"}},
		{[]engine.Window{window(100, 150), window(160, 170)}, 2, []string{"❄ 50 ms"}}, // the second label would cover the first
		{[]engine.Window{window(10, 990), window(20, 980)}, 1, []string{"❄ 2 freezes, longest 980 ms"}},
	} {
		p := &page{Report: engine.Report{Windows: tt.windows}, axis: newAxis([]engine.Part{{From: at(0), To: at(1000)}})}
		p.freezeRow()
		var labels []string
		for _, piece := range strings.Split(p.String(), "❄ ")[1:] {
			text, _, _ := strings.Cut(piece, "<")
			labels = append(labels, "❄ "+text)
		}
		if got := strings.Count(p.String(), `class="fz"`); got != tt.bands || strings.Join(labels, "|") != strings.Join(tt.labels, "|") {
			t.Errorf("%d bands and %q, want %d and %q", got, labels, tt.bands, tt.labels)
		}
	}
}
