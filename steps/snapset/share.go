package snapset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// A WholeSet is a labelled set of which each member is there, completed and no copy: another account can be given it.
type WholeSet struct {
	Set      string // identity
	DataTime time.Time
	Members  []ec2.Snapshot // by mount point
}

// WholeSets are those that a snapshotter with these filter tags made, the newest first.
func WholeSets(all []ec2.Snapshot, filter map[string]string) (whole []WholeSet) {
	byID := map[string]ec2.Snapshot{}
	ready := func(r *Row) bool { return r.Origin == OriginConsistent && r.Unready() == "" && !r.Copy }
	for _, one := range setsOf(IndexOf(own(all, filter, byID)).rows) {
		if !one.Complete(ready) {
			continue
		}
		w := WholeSet{Set: one.id(), DataTime: one.data.time()}
		for _, m := range one.Members {
			i := slices.IndexFunc(m.Snapshots, ready)
			w.Members = append(w.Members, byID[m.Snapshots[i].ID])
		}
		whole = append(whole, w)
	}
	return whole
}

// ManifestSchema is the version of manifests.
const ManifestSchema = 1

// MaxManifest is how many bytes a manifest may have.
const MaxManifest = 64 << 10

// A Manifest tells another account what a set is that is shared with it: EC2 shows no tags of another account's snapshots. Its
// JSON is part of the command line's contract.
type Manifest struct {
	Schema     int               `json:"schema"`
	Owner      string            `json:"owner"`  // the account, 12 digits
	Region     string            `json:"region"` // of its snapshots
	Set        string            `json:"set"`    // its identity
	DataTime   time.Time         `json:"data_time"`
	FilterTags map[string]string `json:"filter_tags"` // of the snapshotter
	SharedWith []string          `json:"shared_with"` // accounts
	Members    []ManifestMember  `json:"members"`     // all of them, by mount point
	// Also are sets of the other volumes, where each volume is snapshotted by itself.
	Also []ManifestSet `json:"also,omitempty"`
}

// A ManifestSet is one more set of a manifest, with the same owner, region and filter tags.
type ManifestSet struct {
	Set      string           `json:"set"`
	DataTime time.Time        `json:"data_time"`
	Members  []ManifestMember `json:"members"`
}

// Sets are the sets of a manifest, each as a manifest of its own.
func (m Manifest) Sets() []Manifest {
	also := m.Also
	m.Also = nil
	all := []Manifest{m}
	for _, one := range also {
		m.Set, m.DataTime, m.Members = one.Set, one.DataTime, one.Members
		all = append(all, m)
	}
	return all
}

// A ManifestMember is one snapshot of the set.
type ManifestMember struct {
	SnapshotID string    `json:"snapshot_id"`
	MountPoint string    `json:"mount_point"`
	Size       int32     `json:"size_gib"` // of its volume
	Started    time.Time `json:"started"`  // when EC2 began it
}

// ManifestOf is that of a set.
func ManifestOf(w WholeSet, owner, region string, filter map[string]string, accounts []string) Manifest {
	m := Manifest{Schema: ManifestSchema, Owner: owner, Region: region, Set: w.Set, DataTime: w.DataTime.UTC(), FilterTags: filter, SharedWith: accounts}
	for _, s := range w.Members {
		m.Members = append(m.Members, ManifestMember{SnapshotID: s.ID, MountPoint: path.Clean(s.Tags[TagMountPoint]), Size: s.VolumeSize, Started: s.Started.UTC()})
	}
	return m
}

// ReadManifest reads a manifest, and nothing beside it.
func ReadManifest(text []byte) (m Manifest, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("it is no manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, errors.New("it is no manifest: something follows it")
	}
	return m, nil
}

var (
	accountForm  = regexp.MustCompile(`^[0-9]{12}$`)
	regionForm   = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$`)
	setForm      = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._:/-]{0,254}$`)
	snapshotForm = regexp.MustCompile(`^snap-[0-9a-f]{8,17}$`)
)

// Check says what is wrong with a manifest that this account is to copy, by itself and beside the settings. It may be from
// anywhere: what EC2 shows of the snapshots is compared with it later.
func (m Manifest) Check(account string, now time.Time, filter map[string]string, mountPoints []string) error {
	switch {
	case m.Schema != ManifestSchema:
		return fmt.Errorf("its schema is %d, and this program reads %d; use the same version of Snaptastic in both accounts", m.Schema, ManifestSchema)
	case !accountForm.MatchString(m.Owner):
		return fmt.Errorf("its owner is %q; expected an account of 12 digits", shortened(m.Owner))
	case m.Owner == account:
		return fmt.Errorf("its set belongs to this account (%s) already; it is for the accounts that it is shared with", account)
	case account != "" && !slices.Contains(m.SharedWith, account):
		return fmt.Errorf("its set is shared with other accounts, and this account is %s; add it to share_with in account %s", account, m.Owner)
	case !regionForm.MatchString(m.Region):
		return fmt.Errorf("its region is %q; expected one such as \"eu-west-1\"", shortened(m.Region))
	case !maps.Equal(m.FilterTags, filter):
		return fmt.Errorf("its filter_tags are %s, and the snapshotter's are %s; set filter_tags to those of the manifest, or use a snapshotter that has them", shortened(InOrder(m.FilterTags)), InOrder(filter))
	}
	seen := map[string]bool{}
	for _, one := range m.Sets() {
		if err := one.checkSet(now, mountPoints, seen); err != nil {
			return err
		}
	}
	return nil
}

// checkSet says what is wrong with one set of a manifest. seen are the snapshots and mount points of those before.
func (m Manifest) checkSet(now time.Time, mountPoints []string, seen map[string]bool) error {
	switch {
	case !setForm.MatchString(m.Set):
		return fmt.Errorf("its set is %q; expected the identity of a set", shortened(m.Set))
	case m.DataTime.IsZero() || m.DataTime.After(now.Add(clocksDiffer)):
		return fmt.Errorf("its data_time is %s, and it is %s", m.DataTime.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case len(m.Members) == 0 || len(m.Members) > len(mountPoints):
		return fmt.Errorf("it has %d members, and the snapshotter has %d volumes", len(m.Members), len(mountPoints))
	}
	for _, one := range m.Members {
		if err := one.check(m.DataTime, mountPoints); err != nil {
			return err
		}
		if seen[one.SnapshotID] || seen[one.MountPoint] {
			return fmt.Errorf("it has %s of %s twice", one.SnapshotID, one.MountPoint)
		}
		seen[one.SnapshotID], seen[one.MountPoint] = true, true
	}
	return nil
}

// shortened is the beginning of what a manifest says, for a message.
func shortened(text string) string {
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func (one ManifestMember) check(data time.Time, mountPoints []string) error {
	switch {
	case !snapshotForm.MatchString(one.SnapshotID):
		return fmt.Errorf("it has the snapshot %q; expected an id such as snap-0123456789abcdef0", shortened(one.SnapshotID))
	case !slices.Contains(mountPoints, one.MountPoint):
		return fmt.Errorf("%s is of %q, for which the snapshotter has no volume; add a volume block with that mount_point", one.SnapshotID, shortened(one.MountPoint))
	case one.Size < 1 || one.Size > 65536:
		return fmt.Errorf("%s has %d GiB; expected 1 to 65536", one.SnapshotID, one.Size)
	case one.Started.Sub(data).Abs() > slowest:
		return fmt.Errorf("%s was begun at %s, and the data of the set is of %s: it is of another set", one.SnapshotID, one.Started.UTC().Format(time.RFC3339), data.UTC().Format(time.RFC3339))
	}
	return nil
}

// Snapshots are the members as a copy is made of them: with the tags that the owner's account does not show.
func (m Manifest) Snapshots(expires time.Time) (all []ec2.Snapshot) {
	for _, one := range m.Members {
		tags := maps.Clone(m.FilterTags)
		tags[TagMountPoint], tags[TagSet], tags[TagMembers] = one.MountPoint, m.Set, fmt.Sprint(len(m.Members))
		tags[TagDataTime], tags[TagFilterKeys] = DataStamp(m.DataTime), JoinFilterKeys(slices.Collect(maps.Keys(m.FilterTags)))
		tags[TagState] = Consistent
		if !expires.IsZero() {
			tags[TagExpires] = expires.UTC().Format(time.RFC3339)
		}
		all = append(all, ec2.Snapshot{ID: one.SnapshotID, OwnerID: m.Owner, VolumeSize: one.Size, Started: one.Started, State: ebs.SnapshotCompleted, Tags: tags})
	}
	return all
}
