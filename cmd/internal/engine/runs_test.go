package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snaptastic/journal"
	"snaptastic/plan"
)

func TestARunIsFoundByTheBeginningOfItsID(t *testing.T) {
	dir := t.TempDir()
	store, err := journal.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := findRun(store, LastRun); err == nil || !strings.Contains(err.Error(), "there is no last run") {
		t.Errorf("the last of no runs: %v", err)
	}
	for _, id := range []string{"20260101T000000000-aaaa", "20260101T000000000-abcd", "20260102T000000000-aaaa", "20260102T000000000-aaaabbbb", "20260103T1-1", "20260103T1-2", "20260103T1-3", "20260103T1-4", "20260103T1-5", "20260103T1-6"} {
		if err := os.WriteFile(filepath.Join(dir, "runs", id+".db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for word, want := range map[plan.RunID]string{
		"20260101T000000000-aa":   "20260101T000000000-aaaa",
		"20260102T000000000-aaaa": "20260102T000000000-aaaa", // a whole id, and the beginning of another
		"last":                    "20260103T1-6",
		"nope":                    "nope",
		"20260104":                "20260104",
		"../x":                    "../x",
		"":                        "",
		"2026010":                 "ambiguous: it may be 20260103T1-6, 20260103T1-5, 20260103T1-4, 20260103T1-3, 20260103T1-2, and 5 more",
		"20260101":                "ambiguous: it may be 20260101T000000000-abcd, 20260101T000000000-aaaa",
	} {
		id, err := findRun(store, word)
		if err != nil && !strings.HasSuffix(err.Error(), want) || err == nil && string(id) != want {
			t.Errorf("%q is %q (%v), want %q", word, id, err, want)
		}
	}
}

func TestThePhaseOfARun(t *testing.T) {
	for want, s := range map[Phase]journal.Summary{
		PhaseDamaged:     {Damaged: true, Live: true},
		PhaseLive:        {Live: true, Meta: journal.Meta{RollingBack: true}},
		PhaseInterrupted: {Meta: journal.Meta{RollingBack: true, Outcome: journal.RunFailed}},
		PhaseFailed:      {Meta: journal.Meta{Outcome: journal.RunFailed}},
		PhaseDone:        {Meta: journal.Meta{Outcome: journal.RunDone}},
		PhaseRolledBack:  {Meta: journal.Meta{Outcome: journal.RolledBack, RollingBack: true}},
		PhaseAbandoned:   {Meta: journal.Meta{Outcome: journal.Abandoned}},
		PhaseAborted:     {Meta: journal.Meta{Outcome: journal.Aborted}},
	} {
		if got := PhaseOf(s); got != want {
			t.Errorf("%+v is %s, want %s", s, got, want)
		}
	}
	if PhaseOf(journal.Summary{}) != PhaseInterrupted {
		t.Error("a run without an outcome that no process is at")
	}
}
