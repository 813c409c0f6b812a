package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/plan"
	"snaptastic/steps/snapset"
)

// hostileTag is a tag that turns lines round, moves the cursor, forges a line and is
// not even text.
const hostileTag = "/mnt\n/a\r\x1b[2J\u009b31m\u0085\u2028\u202eb\u2066\u200f\u061c\U000e0041\x00\x7f\xff|'=\"\\x"

// Tags are written by whoever may. In no format does one do more than show.
func TestNothingPrintedMovesTurnsOrForgesALine(t *testing.T) {
	at := time.Unix(1e9, 0)
	age := int64(5)
	check := func(mp string) engine.CheckResult {
		return engine.CheckResult{At: at, MaxAge: time.Hour, Findings: []snapset.Finding{
			{Subject: mp, MountPoint: mp, SnapshotID: mp, DataTime: &at, AgeSeconds: &age, OK: true},
			{Subject: mp, MountPoint: mp, VolumeID: mp, InstanceID: mp, Problem: mp},
		}}
	}
	p := func(mp string) *plan.Plan {
		b := plan.NewBuilder(plan.Plan{Operation: "mount", Snapshotter: mp, Instance: "i-1", ResumePolicy: plan.ResumeAnyBoot, Lanes: []plan.Lane{{ID: mp}}})
		plan.Add(b, plan.Def[string, string]{Kind: "thing", ObserveBy: plan.ByState, Scope: plan.Cloud}, "thing", mp, plan.InLane(mp), plan.Title("mount it on %s", mp))
		out, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, write := range map[string]func(w *bytes.Buffer, mp string) error{
		"text":       func(w *bytes.Buffer, mp string) error { return render.CheckText(w, check(mp), render.Style{}) },
		"nagios":     func(w *bytes.Buffer, mp string) error { return render.CheckNagios(w, check(mp)) },
		"prometheus": func(w *bytes.Buffer, mp string) error { return render.CheckPrometheus(w, check(mp)) },
		"dot":        func(w *bytes.Buffer, mp string) error { return render.PlanDot(w, p(mp)) },
		"mermaid":    func(w *bytes.Buffer, mp string) error { return render.PlanMermaid(w, p(mp)) },
		"tree":       func(w *bytes.Buffer, mp string) error { return render.PlanTree(w, p(mp), nil, render.Style{}) },
		"table": func(w *bytes.Buffer, mp string) error {
			return render.Table(w, []string{"A", "B"}, [][]string{{mp, mp}}, render.Style{})
		},
		"log": func(w *bytes.Buffer, mp string) error {
			log, err := render.NewLogger(w, "trace", false, false)
			if err == nil {
				log.Warn("it "+strings.ReplaceAll(mp, "\n", ""), "mount_point", strings.ReplaceAll(mp, "\n", ""))
			}
			return err
		},
	} {
		var bad, good bytes.Buffer
		if err := write(&bad, hostileTag); err != nil {
			t.Fatal(err)
		}
		if err := write(&good, "/mnt"); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(bad.Bytes(), []byte("\n")) != bytes.Count(good.Bytes(), []byte("\n")) {
			t.Errorf("%s: it makes lines of its own:\n%q", name, bad.String())
		}
		for _, r := range bad.String() {
			if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) || !utf8.Valid(bad.Bytes()) {
				t.Errorf("%s: %U comes out:\n%q", name, r, bad.String())
				break
			}
		}
	}
}
