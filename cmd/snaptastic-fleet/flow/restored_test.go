package flow

import (
	"strings"
	"testing"
	"time"
)

func TestNoSetIsMadeOfAClusterThatIsHalfRestored(t *testing.T) {
	w := &world{}
	e := w.env(t)
	begun := e.Now()
	for _, c := range []struct {
		name  string
		when  func() When
		armed int
		want  string
	}{
		{"under way", func() When { return When{Begun: begun.Add(-time.Minute)} }, 0, "nothing was frozen: the cluster is restored"},
		{"ended before", func() When { return When{Begun: begun.Add(-time.Hour), Ended: begun.Add(-time.Minute)} }, 3, ""},
		{"begun while hosts prepare", nil, 3, "the cluster is restored, and the set would have some hosts as they were before that"},
		{"begun after the instant", nil, 3, ""},
	} {
		w := &world{when: c.when}
		e := w.env(t)
		e.SetStartTime(begun)
		asked := 0
		if c.when == nil {
			w.when = func() When {
				if asked++; asked == 1 {
					return When{}
				}
				if c.want == "" {
					return When{Begun: begun.Add(11 * time.Second)}
				}
				return When{Begun: begun.Add(time.Second), Ended: begun.Add(2 * time.Second)}
			}
		}
		e.ExecuteWorkflow(Snapshot, request(3))
		_, err := snapshotResult(t, e)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		labelled, undone := 0, 0
		switch {
		case c.want == "":
			labelled = 1
		case c.armed > 0:
			undone = 1
		}
		if w.armed != c.armed || len(w.labelled) != labelled || len(w.undone) != undone {
			t.Errorf("%s: %d armed, labelled %v, undone %v", c.name, w.armed, w.labelled, w.undone)
		}
	}
}
