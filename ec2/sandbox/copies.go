package sandbox

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// What CopySnapshot is limited by: copies that are under way to one region, and the durations of a time-based copy
// (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html, …/time-based-copies.html).
const (
	maxCopies       = 20
	minCopyMinutes  = 15
	maxCopyMinutes  = 48 * 60
	stepCopyMinutes = 15
)

// keyNotAccessible is the StateMessage of a copy whose KMS key cannot be used
// (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html).
const keyNotAccessible = "Given key ID is not accessible"

// copySnapshot copies a snapshot into the region that the request is for. Nothing makes it idempotent: a request that
// is sent again makes a second copy (the action has no ClientToken,
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html).
func copySnapshot(t *tx, q *query, out *document) error {
	source, err := t.copySource(q)
	if err != nil {
		return err
	}
	if err := checkCopy(q); err != nil {
		return err
	}
	tags, err := q.tagsFor("snapshot", "snapshot")
	if err != nil {
		return err
	}
	if t.copiesUnderWay() >= maxCopies {
		return refuse("ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is %d for this destination region.", maxCopies)
	}
	c := &Snapshot{
		ID: newID("snap"), VolumeID: "vol-ffffffff", // "Snapshots copies have an arbitrary source volume ID"
		OwnerID: t.here.Account, Size: source.Size, FullSize: source.FullSize, Description: q.str("Description"),
		Encrypted: source.Encrypted || q.bool("Encrypted"), Started: t.now, Tags: asTags(tags),
		Source: &Source{ID: source.ID, Region: q.str("SourceRegion"), Minutes: q.int("CompletionDurationMinutes")},
	}
	latency := t.behaviour().Latency
	takes := cmp.Or(latency.Copy, latency.Snapshot)
	if c.Source.Minutes > 0 { // "complete within the specified duration"
		takes = min(takes, time.Duration(c.Source.Minutes)*time.Minute)
	}
	c.CompletedAt = t.now.Add(takes)
	if err := t.encryptCopy(c, source, q); err != nil {
		return err
	}
	c.applyFaults(q.faults)
	put(t.in, t.change.Snapshots, c)
	out.text("snapshotId", c.ID)
	out.tagSet(c.Tags)
	if q.bool("DryRun") {
		return nil
	}
	t.onAbort = append(t.onAbort, func() { t.w.pool.remove(c.ID) })
	return t.w.pool.clone(c.ID, source.ID, 0)
}

// copySource is the snapshot that a request copies: this account's own, or one that is shared with it.
func (t *tx) copySource(q *query) (*Snapshot, error) {
	from := World{t.here.Account, q.str("SourceRegion")}
	if regions[from.Region] == "" {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter sourceRegion is invalid.", from.Region)
	}
	if err := t.w.refuseLost(from); err != nil {
		return nil, err
	}
	id := q.str("SourceSnapshotId")
	source, err := need("snap", id, t.seenFrom(from, unlessDeleted(lookUp(t.change.Snapshots, t.rows.Snapshots, id))))
	if err != nil {
		return nil, err
	}
	if state := source.status(t.now); state != "completed" {
		return nil, refuse("IncorrectState", "Snapshot is in invalid state - %s", state)
	}
	if source.tier() == "archive" && !t.now.Before(source.Restored) {
		return nil, refuse("IncorrectState", "The snapshot '%s' is archived. Restore it to the standard tier first.", source.ID)
	}
	return source, nil
}

func checkCopy(q *query) error {
	if err := checkDescription(q); err != nil {
		return err
	}
	if minutes := q.int("CompletionDurationMinutes"); q.has("CompletionDurationMinutes") &&
		(minutes < minCopyMinutes || minutes > maxCopyMinutes || minutes%stepCopyMinutes != 0) {
		return refuse("InvalidParameterValue", "Value (%d) for parameter completionDurationMinutes is invalid. It must be between %d and %d, in increments of %d.",
			minutes, minCopyMinutes, maxCopyMinutes, stepCopyMinutes)
	}
	if q.str("Encrypted") == "false" { // "You cannot set this parameter to false."
		return refuse("InvalidParameterValue", "Value (false) for parameter encrypted is invalid.")
	}
	return nil
}

// encryptCopy sets the key of a copy. A key that cannot be used shows later: "AWS authenticates the KMS key
// asynchronously. Therefore, if you specify an ID, alias, or ARN that is not valid, the action can appear to complete, but
// eventually fails."
func (t *tx) encryptCopy(c, source *Snapshot, q *query) error {
	if q.has("KmsKeyId") && !c.Encrypted { // "If KmsKeyId is specified, the encrypted state must be true."
		return refuse("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	if c.Encrypted { // "If this parameter is not specified, your KMS key for Amazon EBS is used."
		c.KMSKey = cmp.Or(q.str("KmsKeyId"), t.here.defaultKey())
	}
	signed := q.str("PresignedUrl")
	if source.Encrypted && c.Source.Region != t.here.Region && signed == "" {
		// "When you copy an encrypted source snapshot using the Amazon EC2 Query API, you must supply a pre-signed URL."
		return refuse("MissingParameter", "The request must contain the parameter PresignedUrl")
	}
	switch {
	case c.Encrypted && t.keyRefused(c.KMSKey):
		c.ErrorAt, c.Why = 1, keyNotAccessible
	case source.Encrypted && signed != "" && !presignedFor(signed, c.Source, t.here.Region):
		c.ErrorAt, c.Why = 1, "The pre-signed URL is not valid for this copy."
	}
	return nil
}

// presignedFor reports whether a pre-signed URL is for a copy. "It must include the SourceRegion, SourceSnapshotId, and
// DestinationRegion parameters."
func presignedFor(signed string, source *Source, destination string) bool {
	at, err := url.Parse(signed)
	if err != nil {
		return false
	}
	q := at.Query()
	scope := signatureScope.FindStringSubmatch("Credential=" + q.Get("X-Amz-Credential"))
	return scope != nil && scope[2] == source.Region && q.Get("SourceRegion") == source.Region &&
		q.Get("SourceSnapshotId") == source.ID && q.Get("DestinationRegion") == destination
}

// keyRefused reports whether a KMS key cannot be used here: it is disabled, or the key of another region.
func (t *tx) keyRefused(key string) bool {
	if parts := strings.Split(key, ":"); len(parts) > 3 && parts[0] == "arn" && parts[3] != t.here.Region {
		return true
	}
	for _, disabled := range t.behaviour().DisabledKeys {
		if glob(disabled, key) {
			return true
		}
	}
	return false
}

// copiesUnderWay counts the copies into this world that are not completed.
func (t *tx) copiesUnderWay() int {
	count := 0
	for id, c := range t.w.store.copies {
		switch {
		case c.status(t.began) != "pending":
			delete(t.w.store.copies, id) // a row that changes again comes back
		case c.In == t.in:
			count++
		}
	}
	return count
}

// failCopiesOf fails the copies that are being made of a snapshot that is deleted now.
func (t *tx) failCopiesOf(id string) {
	for copied, c := range t.w.store.copies {
		if c.Source.ID == id && c.status(t.began) == "pending" && lookUp(t.change.Snapshots, t.rows.Snapshots, copied) != nil {
			t.editSnapshot(copied).fail(t.began, fmt.Sprintf("The source snapshot %s does not exist.", id))
		}
	}
}

// fail makes a pending snapshot one that fails now.
func (s *Snapshot) fail(now time.Time, why string) {
	s.ErrorAt, s.Why, s.Forced = max(1, s.progress(now)), why, "error"
}

func (s *Snapshot) transferType() string {
	if s.Source != nil && s.Source.Minutes > 0 {
		return "time-based"
	}
	return "standard"
}
