package snapset

import (
	"slices"
	"strings"
	"testing"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// copies makes what copies of some snapshots are: asked for a number of minutes after noon. The word says what became of them:
// "labelled", "copying" (by run C1, not labelled), or "other" (another tool copied ours an hour and more later).
func copies(of []ec2.Snapshot, minutes int, how string) (all []ec2.Snapshot) {
	at := noon.Add(time.Duration(minutes) * time.Minute)
	for _, s := range of {
		run, token, _ := strings.Cut(strings.TrimPrefix(IDOf(s), runPrefix), " ")
		c := ec2.Snapshot{ID: "copy-of-" + s.ID, VolumeID: "vol-ffffffff", VolumeSize: s.VolumeSize, Started: at, State: ebs.SnapshotCompleted}
		c.Tags = CopyTags(CopyDecision{Set: run + "/" + token, DataTime: s.Started, Size: membersOf(s)}, s)
		c.Tags[TagRun], c.Tags[TagToken], c.Tags[TagState], c.Tags[TagCopy] = "C1", "token-C1", Consistent, CopyMark(at, "eu-west-1", s.ID)
		switch how {
		case "copying":
			c.Tags[TagState] = Unverified
		case "other":
			c.Started = at.Add(slowest + time.Minute)
		}
		all = append(all, c)
	}
	return all
}

func TestWhichSetsADestinationLacks(t *testing.T) {
	three := snaps("1 a R1/2", "1 b R1/2", "1500 a R2/2", "1500 b R2/2", "3000 a R3/2", "3000 b R3/2") // about a day apart
	pending := snaps("1 a R1/2", "1 b R1/2", "5 a R2/2", "5 b R2/2 pending")
	expired := snaps("1 a R1/1", "5 a R2/1")
	for i := range expired {
		expired[i].Tags[TagExpires] = noon.Add(time.Hour).Format(time.RFC3339)
	}
	lost := copies(three[4:], 3001, "labelled")[:1]
	for name, c := range map[string]struct {
		source, there []ec2.Snapshot
		keep          *Keep
		want          string // a set each: what is copied of it, or why nothing is
	}{
		"all, the newest first":                {three, nil, nil, "R3: snap-5 snap-6 | R2: snap-3 snap-4 | R1: snap-1 snap-2"},
		"none that is there":                   {three, copies(three[2:4], 1600, "labelled"), nil, "R3: snap-5 snap-6 | R2:  | R1: snap-1 snap-2"},
		"the member that was lost there":       {three[4:], lost, nil, "R3: snap-6"},
		"not what another run copies":          {three[4:], copies(three[4:], 3001, "copying"), nil, "R3: ! run C1 is copying it; if that run is gone, a `run copy` does so once what it left is a day old"},
		"but what it left more than a day ago": {three[:2], copies(three[:2], 2, "copying"), nil, "R1: snap-1 snap-2"},
		"not what is not completed":            {pending, nil, nil, "R2: ! it is not complete: snap-4 of it is pending (0 %) | R1: snap-1 snap-2"},
		"not what lost a member":               {three[1:2], nil, nil, "R1: ! it is not complete: 1 of its 2 snapshots is gone"},
		"not what is not labelled":             {snaps("1 a unverified", "2 a copied"), nil, nil, ""},
		"not what has expired, but the newest": {expired, nil, nil, "R2: snap-2 | R1: ! it expired 2026-03-01 13:00"},
		"what keep would keep":                 {three, nil, &Keep{Last: 2}, "R3: snap-5 snap-6 | R2: snap-3 snap-4 | R1: ! no rule of the destination's keep would keep it"},
		"with what is there":                   {three, copies(three[2:], 3001, "labelled"), &Keep{Last: 2}, "R3:  | R2:  | R1: ! no rule of the destination's keep would keep it"},
		"an old one that a rule has room for":  {three, copies(three[2:], 3001, "labelled"), &Keep{Daily: 3}, "R3:  | R2:  | R1: snap-1 snap-2"},
		"another snapshotter's":                {withTag(withTag(three[:2], "tier", "hot"), TagFilterKeys, "role,tier"), nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			to := CopyTo{Region: "eu-central-1", Filter: map[string]string{"role": "search"}, Keep: c.keep, Source: c.source, There: c.there, Now: noon.Add(3010 * time.Minute)}
			decisions, err := to.Lacking()
			if err != nil {
				t.Fatal(err)
			}
			if got := inWords(t, decisions); got != c.want {
				t.Errorf("decided %s\nwant %s", got, c.want)
			}
		})
	}
}

// A set of several hosts, which have the same mount points and a filter tag more, is copied as a whole or not at all.
func TestALargerSetIsCopiedAsAWhole(t *testing.T) {
	part := func(larger, run, at, host string) []ec2.Snapshot {
		all := snaps(at + " a " + run + "/1")
		for key, value := range map[string]string{TagSet: run + "/token", TagLargerSet: larger, TagLargerMembers: "2", "shard": host, TagFilterKeys: "role,shard"} {
			all = withTag(all, key, value)
		}
		all[0].ID = "snap-" + run
		return all
	}
	monday, tuesday := slices.Concat(part("M", "R1", "1", "1"), part("M", "R2", "1", "2")), slices.Concat(part("T", "R3", "1500", "1"), part("T", "R4", "1500", "2"))
	both := slices.Concat(monday, tuesday)
	unlabelled := withTag(tuesday[:1], TagState, Unverified)
	copied := withTag(withTag(copies(monday[:1], 3001, "labelled"), TagSet, "R1/token"), TagLargerSet, "M")
	copying := withTag(withTag(copies(monday[:1], 3001, "copying"), TagSet, "R1/token"), TagLargerSet, "M")
	for name, c := range map[string]struct {
		filter        map[string]string
		source, there []ec2.Snapshot
		keep          *Keep
		want          string
	}{
		"all":                          {nil, both, nil, nil, "T: snap-R3 snap-R4 | M: snap-R1 snap-R2"},
		"what is there":                {nil, monday, copied, nil, "M: snap-R2"},
		"a part that another copies":   {nil, monday, copying, nil, "M: ! run C1 is copying it; if that run is gone, a `run copy` does so once what it left is a day old"},
		"one host's":                   {map[string]string{"shard": "1"}, monday, nil, nil, "M: ! it is of several hosts, and 1 of its 2 snapshots have the filter tags: `snaptastic fleet copy` copies it as a whole"},
		"what is not labelled":         {nil, slices.Concat(unlabelled, tuesday[1:]), nil, nil, "T: ! it is of several hosts, and 1 of its 2 snapshots have the filter tags: `snaptastic fleet copy` copies it as a whole"},
		"the last, whole":              {nil, both, nil, &Keep{Last: 1}, "T: snap-R3 snap-R4 | M: ! no rule of the destination's keep would keep it"},
		"another snapshotter's beside": {nil, slices.Concat(withTag(withTag(snaps("1 a R9/1"), "shard", "1"), TagFilterKeys, "role,shard"), monday), nil, nil, "M: snap-R1 snap-R2"},
	} {
		filter := map[string]string{"role": "search"}
		for key, value := range c.filter {
			filter[key] = value
		}
		decisions, err := CopyTo{Region: "eu-central-1", Filter: filter, Keep: c.keep, Source: c.source, There: c.there, Now: noon.Add(3010 * time.Minute)}.Lacking()
		if err != nil {
			t.Fatal(err)
		}
		if got := inWords(t, decisions); got != c.want {
			t.Errorf("%s: decided %s\nwant %s", name, got, c.want)
		}
		for _, d := range decisions {
			for _, m := range d.Members {
				if tags := CopyTags(d, m); tags[TagSet] != m.Tags[TagSet] || tags[TagMembers] != "1" || tags[TagLargerSet] != d.Set || tags[TagLargerMembers] != "2" {
					t.Errorf("%s: the copy of %s has the tags %v", name, m.ID, tags)
				}
			}
		}
	}
}

// inWords says of each set what is copied of it, or why nothing is.
func inWords(t *testing.T, decisions []CopyDecision) string {
	t.Helper()
	var words []string
	for _, d := range decisions {
		run, _, _ := strings.Cut(d.Set, "/")
		var ids []string
		for _, m := range d.Members {
			ids = append(ids, m.ID)
		}
		what := strings.Join(ids, " ")
		if d.Why != "" {
			what = "! " + d.Why
		}
		if d.Copy != (d.Why == "" && len(ids) > 0) {
			t.Errorf("%s: copy is %t with %d members and the reason %q", run, d.Copy, len(ids), d.Why)
		}
		words = append(words, run+": "+what)
	}
	return strings.Join(words, " | ")
}

func withTag(all []ec2.Snapshot, key, value string) (out []ec2.Snapshot) {
	for _, s := range all {
		s.Tags = withTagOf(s.Tags, key, value)
		out = append(out, s)
	}
	return out
}

// A copy is the same set in another place: a mount takes it by the same rules, its age is that of the data, and a drill of the
// original proves nothing of it.
func TestACopyIsTheSetInAnotherPlace(t *testing.T) {
	originals := withTag(snaps("1 a R1/2", "1 b R1/2"), TagVerified, noon.Add(time.Hour).Format(time.RFC3339))
	there := copies(originals, 600, "labelled")
	chosen := Choices(Choose(Request{Group: true, MountPoints: []string{"/mnt/a", "/mnt/b"}}, there))
	for i, c := range chosen {
		if c.SnapshotID != there[i].ID || !c.Created.Equal(noon.Add(time.Minute)) || !c.Verified.IsZero() {
			t.Errorf("chosen is %+v", c)
		}
	}
	if !OurCopy(there[0]) || OurCopy(copies(originals, 600, "other")[0]) || OurCopy(originals[0]) {
		t.Error("a copy of ours is not told from another tool's")
	}
}

func TestWhatIsToldOfALag(t *testing.T) {
	originals := snaps("1 a R1/2", "1 b R1/2", "60 a R2/2", "60 b R2/2")
	scope := Scope{Name: "search", Declared: []string{"/mnt/a", "/mnt/b"}, Group: true}
	for name, c := range map[string]struct {
		there []ec2.Snapshot
		want  string
	}{
		"recent":            {copies(originals, 61, "labelled"), "ok | ok"},
		"none":              {nil, "no copy exists there | no copy exists there"},
		"old":               {copies(originals[:2], 61, "labelled"), "its newest snapshot copy-of-snap-1 is 2h29m old (limit 2h) | its newest snapshot copy-of-snap-2 is 2h29m old (limit 2h)"},
		"the newest a half": {slices.Concat(copies(originals[:2], 2, "labelled"), copies(originals[2:3], 61, "labelled")), "newer: copy-of-snap-3 is part of an incomplete set"},
		"being copied":      {copies(originals[2:], 61, "copying"), "not labelled consistent"},
	} {
		var words []string
		for _, f := range Lag(scope, "eu-central-1", IndexOf(c.there), noon.Add(150*time.Minute), 2*time.Hour) {
			if f.OK != (f.Problem == "") || f.Region != "eu-central-1" {
				t.Errorf("%s: %+v", name, f)
			}
			if f.OK {
				f.Problem = "ok"
			}
			words = append(words, f.Problem)
		}
		if got := strings.Join(words, " | "); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
