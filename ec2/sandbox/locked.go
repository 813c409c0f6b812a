package sandbox

import "time"

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
