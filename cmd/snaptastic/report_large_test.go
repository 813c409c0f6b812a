package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render/report"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps/recipe"
)

// Forty volumes of one instance, mounted and snapshotted one by one.
func TestTheReportOfFortyVolumes(t *testing.T) {
	t.Parallel()
	chromium(t)
	u := newSimulation(t, 0)
	u.spec.Consistency = "volume"
	for i := range 40 {
		u.spec.Volumes = append(u.spec.Volumes, recipe.Volume{Device: fmt.Sprintf("/dev/xvd%c%c", 'b'+i/26, 'a'+i%26), MountPoint: fmt.Sprintf("/srv/shards/%02d", i),
			Size: 1, FileSystem: "xfs", VolumeType: "gp3", Description: "test"})
	}
	check := func() engine.Report {
		runs := u.list()
		told := readReport(t, filepath.Join(u.k.dir, "..", "state"), string(runs[len(runs)-1].Run))
		var page bytes.Buffer
		if err := report.Run(&page, told, ""); err != nil {
			t.Fatal(err)
		}
		showsJournal(t, page.Bytes(), told)
		if told.Plan.Operation == "mount" {
			accessible(t, page.Bytes())
		}
		return told
	}
	if err := u.sandbox.SetInstanceType("m7i.24xlarge"); err != nil { // most types take 27 volumes
		t.Fatal(err)
	}
	u.done("mount")
	check()
	if len(u.k.mounts) != 40 {
		t.Errorf("%d volumes are mounted", len(u.k.mounts))
	}
	u.done("snapshot")
	if told := check(); len(told.Windows) != 40 {
		t.Errorf("%d volumes were frozen by themselves, want 40", len(told.Windows))
	}
}

// nothing is a step kind without an effect.
var nothing = plan.Def[int, int]{Kind: "nothing", ObserveBy: plan.ByState, Scope: plan.Cloud}

// A run of ten thousand steps is one page that can still be sent by mail.
func TestTheReportOfTenThousandSteps(t *testing.T) {
	t.Parallel()
	chromium(t)
	const lanes, chain, most = 1000, 10, 3_000_000
	head := plan.Plan{Operation: "mount", Snapshotter: "many", Instance: "i-0123456789abcdef0", ResumePolicy: plan.ResumeAnyBoot}
	for l := range lanes {
		head.Lanes = append(head.Lanes, plan.Lane{ID: fmt.Sprintf("/srv/%04d", l), Facts: plan.Facts{MountPoint: fmt.Sprintf("/srv/%04d", l)}})
	}
	b := plan.NewBuilder(head)
	for l := range lanes {
		lane, before := fmt.Sprintf("/srv/%04d", l), plan.StepID("")
		for s := range chain {
			id := plan.StepID(fmt.Sprintf("step-%d:%s", s, lane))
			plan.Add(b, nothing, id, s, plan.InLane(lane), plan.After(before))
			before = id
		}
	}
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	dir := memory(t)
	store, err := journal.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	run, err := store.Begin(journal.Meta{Run: journal.NewRunID(now), Created: now, Version: "test", Processes: []journal.Process{{PID: 1, Began: now}}}, p)
	if err != nil {
		t.Fatal(err)
	}
	h := plan.Handlers{}
	plan.Bind(h, nothing, plan.Funcs[int, int]{Do: func(_ context.Context, _ plan.Attempt, n int) (int, error) { return n, nil },
		Facts: func(int) plan.Facts { return plan.Facts{VolumeID: "vol-0123456789abcdef0"} }})
	res := runner.Execute(t.Context(), runner.Config{Plan: p, Run: run.Meta().Run, Records: run.Records(), Journal: run, Handlers: h, BootID: "boot"})
	m := run.Meta()
	m.Outcome, m.Ended = res.Outcome, time.Now()
	m.EndProcess(m.Ended)
	if err := run.SetMeta(m); err != nil || res.Outcome != journal.RunDone {
		t.Fatal(res.Outcome, err)
	}
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	told := readReport(t, dir, string(m.Run))
	var page bytes.Buffer
	began := time.Now()
	if err := report.Run(&page, told, ""); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d steps: %d bytes, written in %s", len(told.Steps), page.Len(), time.Since(began))
	if page.Len() > most {
		t.Errorf("the page has %d bytes, at most %d are wanted", page.Len(), most)
	}
	t.Logf("first contentful paint after %.0f ms", firstPaint(t, page.Bytes()))
	showsJournal(t, page.Bytes(), told)
}
