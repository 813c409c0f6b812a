package sandbox

import (
	"time"
)

func modifySnapshotTier(t *tx, q *query, out *document) error {
	s, err := t.needSnapshot(q.str("SnapshotId"))
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
	s, err := t.needSnapshot(q.str("SnapshotId"))
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

func lockSnapshot(t *tx, q *query, out *document) error {
	s, err := t.needSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	mode := q.str("LockMode")
	if mode != "governance" && mode != "compliance" {
		return refuse("InvalidParameterValue", "Value (%s) for parameter LockMode is invalid.", mode)
	}
	if q.has("LockDuration") == q.has("ExpirationDate") {
		return refuse("InvalidParameterCombination", "Specify either LockDuration or ExpirationDate.")
	}
	lock := &Lock{Mode: mode, Created: t.now, Expires: q.instant("ExpirationDate")}
	if q.has("LockDuration") {
		lock.Expires = t.now.AddDate(0, 0, q.int("LockDuration"))
	}
	if !lock.Expires.After(t.now) {
		return refuse("InvalidParameterValue", "The lock would expire in the past.")
	}
	if hours := q.int("CoolOffPeriod"); hours > 0 && mode == "compliance" {
		lock.CoolOffUntil = t.now.Add(time.Duration(hours) * time.Hour)
	}
	if s.lockState(t.now) == "compliance" && lock.Expires.Before(s.Lock.Expires) {
		return refuse("OperationNotPermitted", "A compliance lock can only be prolonged.")
	}
	s = t.editSnapshot(s.ID)
	s.Lock = lock
	t.writeLock(out, s)
	return nil
}

func unlockSnapshot(t *tx, q *query, out *document) error {
	s, err := t.needSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	switch s.lockState(t.now) {
	case "":
		return refuse("IncorrectState", "The snapshot '%s' is not locked.", s.ID)
	case "compliance":
		return refuse("OperationNotPermitted", "The snapshot '%s' is locked in compliance mode.", s.ID)
	}
	t.editSnapshot(s.ID).Lock = nil
	out.text("snapshotId", s.ID)
	return nil
}

var lockFields = fields[*Snapshot]{
	"lock-state": single(func(s *Snapshot, now time.Time) string { return s.lockState(now) }),
}

func describeLockedSnapshots(t *tx, q *query, out *document) error {
	snapshots, next, err := describe(t, q, listing[*Snapshot]{
		ids: "SnapshotId", fields: lockFields, after: t.snapshotsAfter, smallest: 5, find: t.findSnapshot,
		also: func(s *Snapshot) bool { return s.Lock != nil },
	})
	if err != nil {
		return err
	}
	set(out, "snapshotSet", snapshots, func(s *Snapshot) {
		out.text("ownerId", s.OwnerID)
		t.writeLock(out, s)
	})
	out.optional("nextToken", next)
	return nil
}

func (t *tx) writeLock(out *document, s *Snapshot) {
	out.text("snapshotId", s.ID)
	out.text("lockState", s.lockState(t.now))
	out.instant("lockCreatedOn", s.Lock.Created)
	out.instant("lockDurationStartTime", s.Lock.Created)
	out.number("lockDuration", int(s.Lock.Expires.Sub(s.Lock.Created).Hours()/24))
	out.instant("lockExpiresOn", s.Lock.Expires)
	if !s.Lock.CoolOffUntil.IsZero() {
		out.instant("coolOffPeriodExpiresOn", s.Lock.CoolOffUntil)
	}
}
