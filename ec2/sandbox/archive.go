package sandbox

import (
	"time"
)

func modifySnapshotTier(t *tx, q *query, out *document) error {
	s, err := t.needOwnSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	if tier := q.str("StorageTier"); tier != "archive" {
		return refuse("InvalidParameterValue", "Value (%s) for parameter StorageTier is invalid.", tier)
	}
	if s.tier() == "archive" || s.status(t.now) != "completed" {
		return refuse("IncorrectState", "Snapshot %s is %s in the tier %s", s.ID, s.status(t.now), s.tier())
	}
	s = t.editSnapshot(s.ID)
	s.Tier, s.Restored = "archive", time.Time{}
	out.text("snapshotId", s.ID)
	out.instant("tieringStartTime", t.now)
	return nil
}

func restoreSnapshotTier(t *tx, q *query, out *document) error {
	s, err := t.needOwnSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	if s.tier() != "archive" {
		return refuse("IncorrectState", "Snapshot %s is not archived", s.ID)
	}
	days, permanent := q.int("TemporaryRestoreDays"), q.bool("PermanentRestore")
	if (days > 0) == permanent {
		return refuse("InvalidParameterCombination", "Specify either PermanentRestore or TemporaryRestoreDays.")
	}
	s = t.editSnapshot(s.ID)
	out.text("snapshotId", s.ID)
	out.instant("restoreStartTime", t.now)
	if permanent {
		s.Tier = ""
	} else {
		s.Restored = t.now.AddDate(0, 0, days)
		out.number("restoreDuration", days)
	}
	out.flag("isPermanentRestore", permanent)
	return nil
}
