package sandbox

import "time"

// The limits of a snapshot lock (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html).
const (
	minLockDays, maxLockDays         = 1, 36500
	minCoolOffHours, maxCoolOffHours = 1, 72
)

func lockSnapshot(t *tx, q *query, out *document) error {
	s, err := t.needOwnSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	if err := checkLock(q); err != nil {
		return err
	}
	lock := t.newLock(s, q)
	if !lock.Expires.After(t.now) {
		return refuse("InvalidParameterValue", "The lock would expire in the past.")
	}
	if s.lockState(t.now) == "compliance" {
		// "If the snapshot is locked in compliance mode and the cooling-off period has lapsed, you can only increase the lock
		// duration or extend the lock expiration date."
		if lock.Mode != "compliance" || q.has("CoolOffPeriod") || lock.Expires.Before(s.Lock.Expires) {
			return refuse("OperationNotPermitted", "The snapshot '%s' is locked in compliance mode: its lock can only be prolonged.", s.ID)
		}
		lock.Created, lock.CoolOffUntil = s.Lock.Created, s.Lock.CoolOffUntil
	}
	s = t.editSnapshot(s.ID)
	s.Lock = lock
	t.writeLock(out, s)
	return nil
}

func checkLock(q *query) error {
	mode, days, hours := q.str("LockMode"), q.int("LockDuration"), q.int("CoolOffPeriod")
	switch {
	case mode != "governance" && mode != "compliance":
		return refuse("InvalidParameterValue", "Value (%s) for parameter LockMode is invalid.", mode)
	case q.has("LockDuration") == q.has("ExpirationDate"): // "either this parameter or ExpirationDate, but not both"
		return refuse("InvalidParameterCombination", "Specify either LockDuration or ExpirationDate.")
	case q.has("LockDuration") && (days < minLockDays || days > maxLockDays):
		return refuse("InvalidParameterValue", "Value (%d) for parameter LockDuration is invalid. It must be between %d and %d.", days, minLockDays, maxLockDays)
	case q.has("CoolOffPeriod") && mode == "governance": // "If you lock a snapshot in governance mode, omit CoolOffPeriod."
		return refuse("InvalidParameterCombination", "CoolOffPeriod is not supported for the lock mode governance.")
	case q.has("CoolOffPeriod") && (hours < minCoolOffHours || hours > maxCoolOffHours):
		return refuse("InvalidParameterValue", "Value (%d) for parameter CoolOffPeriod is invalid. It must be between %d and %d.", hours, minCoolOffHours, maxCoolOffHours)
	}
	return nil
}

// newLock is the lock that a request asks for. "If you lock a snapshot that is in the pending state, the lock duration
// starts only once the snapshot enters the completed state."
func (t *tx) newLock(s *Snapshot, q *query) *Lock {
	lock := &Lock{Mode: q.str("LockMode"), Created: t.now, Starts: t.now, Expires: q.instant("ExpirationDate")}
	if s.CompletedAt.After(t.now) {
		lock.Starts = s.CompletedAt
	}
	if q.has("LockDuration") {
		lock.Expires = lock.Starts.AddDate(0, 0, q.int("LockDuration"))
	}
	if hours := q.int("CoolOffPeriod"); hours > 0 {
		lock.CoolOffUntil = t.now.Add(time.Duration(hours) * time.Hour)
	}
	return lock
}

func unlockSnapshot(t *tx, q *query, out *document) error {
	s, err := t.needOwnSnapshot(q.str("SnapshotId"))
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
		also: func(s *Snapshot) bool { return s.Lock != nil && s.OwnerID == t.here.Account },
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
	lock := s.Lock
	starts := lock.Starts
	if starts.IsZero() { // a record of before
		starts = lock.Created
	}
	out.text("snapshotId", s.ID)
	out.text("lockState", s.lockState(t.now))
	out.instant("lockCreatedOn", lock.Created)
	out.number("lockDuration", int(lock.Expires.Sub(starts).Hours()/24))
	if !t.now.Before(starts) {
		out.instant("lockDurationStartTime", starts)
		out.instant("lockExpiresOn", lock.Expires)
	}
	if !lock.CoolOffUntil.IsZero() {
		out.number("coolOffPeriod", int(lock.CoolOffUntil.Sub(lock.Created).Round(time.Hour).Hours()))
		out.instant("coolOffPeriodExpiresOn", lock.CoolOffUntil)
	}
}
