package sandbox

import (
	"slices"
	"time"
)

// seen is a snapshot as the transaction's world sees it: its own, or one that another account shares with it in this
// region, without the owner's tags; else nil.
func (t *tx) seen(s *Snapshot) *Snapshot {
	if s == nil || s.In == t.in {
		return s
	}
	return t.seenFrom(t.here, s)
}

func (t *tx) seenFrom(in World, s *Snapshot) *Snapshot {
	switch {
	case s == nil:
		return nil
	case worldOf(s.In) == in:
		return s
	case worldOf(s.In).Region != in.Region || !s.sharedWith(in.Account):
		return nil
	}
	return s.seenBy(in.Account)
}

func (s *Snapshot) sharedWith(account string) bool {
	return slices.Contains(s.Shared, account) || slices.Contains(s.Shared, "all")
}

// seenBy is a copy for the eyes of another account. It is not for changes.
func (s *Snapshot) seenBy(account string) *Snapshot {
	c := *s
	c.guest = account
	return &c
}

// tags are the tags that an account sees: its own tags, also on snapshots that another account shares with it
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html).
func (s *Snapshot) tags() Tags {
	switch {
	case s.guest != "":
		if own := s.GuestTags[s.guest]; own != nil {
			return *own
		}
		return nil
	case s.OwnerID != worldOf(s.In).Account:
		return s.OurTags
	}
	return s.Tags
}

// tagsOfSnapshot returns where the transaction's account keeps its tags of a snapshot that can be changed.
func (t *tx) tagsOfSnapshot(s *Snapshot) *Tags {
	switch {
	case s.In != t.in:
		if s.GuestTags == nil {
			s.GuestTags = map[string]*Tags{}
		}
		if s.GuestTags[t.here.Account] == nil {
			s.GuestTags[t.here.Account] = &Tags{}
		}
		return s.GuestTags[t.here.Account]
	case s.OwnerID != t.here.Account:
		return &s.OurTags
	}
	return &s.Tags
}

func (s *Snapshot) shown(now time.Time) (*Snapshot, bool) {
	shown := versionAt(s, now)
	if shown == nil || s.guest == "" {
		return shown, shown != nil
	}
	return shown.seenBy(s.guest), shown.sharedWith(s.guest)
}

// restorable reports whether one of the users of RestorableBy may create volumes from a snapshot: "self for snapshots for
// which you own or have explicit permissions, or all for public snapshots", or accounts "(if you own the snapshots)"
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html).
func (t *tx) restorable(s *Snapshot, users []string) bool {
	own := s.OwnerID == t.here.Account
	for _, user := range users {
		switch {
		case user == "self" && (own || s.guest == "" || slices.Contains(s.Shared, s.guest)):
			return true
		case (own || user == "all" || user == t.here.Account) && slices.Contains(s.Shared, user):
			return true
		}
	}
	return false
}

func notOwner() error {
	return refuse("UnauthorizedOperation", "You are not authorized to perform this operation.")
}

// needOwnSnapshot is needSnapshot for what only the owner of a snapshot may do.
func (t *tx) needOwnSnapshot(id string) (*Snapshot, error) {
	s, err := t.needSnapshot(id)
	if err == nil && s.OwnerID != t.here.Account {
		err = notOwner()
	}
	return s, err
}

// maxPermissions is how many modifications one request may make
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html).
const maxPermissions = 500

// modifySnapshotAttribute adds or removes accounts that may create volumes from a snapshot: "you cannot do both in a
// single operation".
func modifySnapshotAttribute(t *tx, q *query, out *document) error {
	s, err := t.needOwnSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	if attribute := q.str("Attribute"); attribute != "" && attribute != "createVolumePermission" {
		return refuse("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", attribute)
	}
	added, removed, err := q.permissions()
	if err != nil {
		return err
	}
	for _, user := range append(slices.Clone(added), removed...) {
		if user != "all" && !accountID.MatchString(user) {
			return refuse("InvalidUserID.Malformed", "Invalid user id: \"%s\"", user)
		}
	}
	if s.Encrypted && len(added) > 0 {
		if slices.Contains(added, "all") {
			return refuse("OperationNotPermitted", "Encrypted snapshots cannot be made public")
		}
		if s.KMSKey == "" || s.KMSKey == t.here.defaultKey() || s.KMSKey == "alias/aws/ebs" {
			return refuse("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
		}
	}
	s = t.editSnapshot(s.ID)
	for _, user := range added {
		if !slices.Contains(s.Shared, user) {
			s.Shared = append(s.Shared, user)
		}
	}
	s.Shared = slices.DeleteFunc(s.Shared, func(user string) bool { return slices.Contains(removed, user) })
	slices.Sort(s.Shared)
	out.done()
	return nil
}

// permissions reads both ways to name the users of ModifySnapshotAttribute.
func (q *query) permissions() (added, removed []string, err error) {
	users := append(q.list("UserId"), q.list("UserGroup")...)
	switch operation := q.str("OperationType"); {
	case operation == "add":
		added = users
	case operation == "remove":
		removed = users
	case operation != "" || len(users) > 0:
		return nil, nil, refuse("InvalidParameterValue", "Value (%s) for parameter operationType is invalid.", operation)
	}
	for prefix, list := range map[string]*[]string{"CreateVolumePermission.Add": &added, "CreateVolumePermission.Remove": &removed} {
		for _, item := range q.each(prefix) {
			*list = append(*list, q.str(item+".UserId")+q.str(item+".Group"))
		}
	}
	switch {
	case len(added) > 0 && len(removed) > 0:
		err = refuse("InvalidParameterCombination", "You cannot add and remove permissions in one operation.")
	case len(added)+len(removed) == 0:
		err = refuse("MissingParameter", "The request must contain the parameter CreateVolumePermission")
	case len(added)+len(removed) > maxPermissions:
		err = refuse("InvalidParameterValue", "You can make at most %d modifications in one operation.", maxPermissions)
	}
	return added, removed, err
}

func describeSnapshotAttribute(t *tx, q *query, out *document) error {
	s, err := t.needOwnSnapshot(q.str("SnapshotId"))
	if err != nil {
		return err
	}
	out.text("snapshotId", s.ID)
	switch attribute := q.str("Attribute"); attribute {
	case "createVolumePermission":
		set(out, "createVolumePermission", s.Shared, func(user string) {
			if user == "all" {
				out.text("group", user)
			} else {
				out.text("userId", user)
			}
		})
	case "productCodes":
		set(out, "productCodes", []string{}, func(string) {})
	default:
		return refuse("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", attribute)
	}
	return nil
}
