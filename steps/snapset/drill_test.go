package snapset

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"snaptastic/ec2"
)

func TestADrillIsReadFromTheTags(t *testing.T) {
	at := func(minutes int) string { return noon.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339) }
	for name, c := range map[string]struct {
		tags map[string]string
		want string
	}{
		"none":                      {nil, " never 0s"},
		"verified":                  {map[string]string{TagVerified: at(5), TagRestoreSeconds: "90"}, "verified 12:05 1m30s"},
		"no seconds":                {map[string]string{TagVerified: at(5), TagRestoreSeconds: "-3x"}, "verified 12:05 0s"},
		"by no time":                {map[string]string{TagVerified: "yes"}, " never 0s"},
		"without a zone":            {map[string]string{TagVerified: "2026-03-01 12:05:00"}, " never 0s"},
		"taken along by a copy":     {map[string]string{TagVerified: at(-5)}, " never 0s"},
		"bad, and copied":           {map[string]string{TagVerifyFailed: at(-5) + ": torn"}, "failed never 0s torn"},
		"failed after a success":    {map[string]string{TagVerified: at(5), TagVerifyFailed: at(6) + ": torn"}, "failed 12:05 0s torn"},
		"succeeded after it":        {map[string]string{TagVerified: at(7), TagVerifyFailed: at(6) + ": torn"}, "verified 12:07 0s torn"},
		"both of one second":        {map[string]string{TagVerified: at(6), TagVerifyFailed: at(6) + ": torn"}, "failed 12:06 0s torn"},
		"failed, nobody knows when": {map[string]string{TagVerified: at(7), TagVerifyFailed: "torn for good"}, "failed 12:07 0s torn for good"},
		"failed without a reason":   {map[string]string{TagVerifyFailed: at(6)}, "failed never 0s"},
	} {
		d := DrillOf(c.tags, noon)
		when := "never"
		if v := d.VerifiedAt(); !v.IsZero() {
			when = v.Format("15:04")
		}
		if got := strings.TrimRight(fmt.Sprint(string(d.State()), " ", when, " ", d.RestoreTime(), " ", d.Reason()), " "); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatADrillWritesItReads(t *testing.T) {
	if d := DrillOf(VerifiedTags(noon.Add(time.Minute), 1500*time.Millisecond), noon); d.State() != Verified || d.RestoreTime() != 2*time.Second {
		t.Errorf("%+v", d)
	}
	long := strings.Repeat("ä\x1b[31m\n", 300)
	tags := FailedTags(noon.Add(time.Minute), long)
	if n := utf8.RuneCountInString(tags[TagVerifyFailed]); n > 255 || n < 250 || strings.ContainsAny(tags[TagVerifyFailed], "\x1b\n") {
		t.Errorf("%d characters: %q", n, tags)
	}
	if cut := FailedTags(noon, "the log is torn: "+strings.Repeat("at frame of somebody ", 30)+"no such page")[TagVerifyFailed]; utf8.RuneCountInString(cut) > 255 || !strings.Contains(cut, ": the log is torn: at") ||
		!strings.Contains(cut, " … ") || !strings.HasSuffix(cut, "no such page") {
		t.Errorf("cut to %q", cut)
	}
	if d := DrillOf(tags, noon); d.State() != DrillFailed || d.FailedAt() != noon.Add(time.Minute) || !strings.HasPrefix(d.Reason(), "ä [31m ä") {
		t.Errorf("%+v", d)
	}
}

func TestASetIsVerifiedWhenEveryMemberIs(t *testing.T) {
	good := VerifiedTags(noon.Add(time.Hour), time.Minute)
	later := VerifiedTags(noon.Add(2*time.Hour), 2*time.Minute)
	bad := FailedTags(noon.Add(90*time.Minute), "torn")
	for name, c := range map[string]struct {
		lines []string
		tags  []map[string]string
		want  string
	}{
		"none":                 {[]string{"0 a R/2", "0 b R/2"}, []map[string]string{nil, nil}, ""},
		"one":                  {[]string{"0 a R/2", "0 b R/2"}, []map[string]string{good, nil}, ""},
		"both, at two times":   {[]string{"0 a R/2", "0 b R/2"}, []map[string]string{good, later}, "verified 13:00 2m0s"},
		"one is gone":          {[]string{"0 a R/2"}, []map[string]string{good}, ""},
		"one has failed":       {[]string{"0 a R/2", "0 b R/2"}, []map[string]string{good, bad}, "failed"},
		"failed, then well":    {[]string{"0 a R/1"}, []map[string]string{merge(bad, later)}, "verified 14:00 2m0s"},
		"well, and then not":   {[]string{"0 a R/1"}, []map[string]string{merge(bad, good)}, "failed 13:00 1m0s"},
		"the original's":       {[]string{"0 a original"}, []map[string]string{good}, "verified 13:00 1m0s"},
		"a copy of a good one": {[]string{"0 a R/1 error", "180 a R/1"}, []map[string]string{nil, good}, ""},
	} {
		all := snaps(c.lines...)
		for i := range all {
			maps.Copy(all[i].Tags, c.tags[i])
		}
		x := IndexOf(all)
		x.build()
		if len(x.sets) != 1 {
			t.Fatalf("%s: %d sets", name, len(x.sets))
		}
		d := x.sets[0].Drill()
		got := string(d.State())
		if v := d.VerifiedAt(); !v.IsZero() {
			got += " " + v.Format("15:04") + " " + d.RestoreTime().String()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func merge(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// A scratch volume bears no filter tag, so that the clean-up of any snapshotter, on any host, takes it once it is a day old.
func TestScratchVolumesThatADrillLeftGo(t *testing.T) {
	scratch := func(age time.Duration, tags ...string) ec2.Volume {
		v := ec2.Volume{ID: "vol-1", State: "available", SnapshotID: "snap-1", Created: noon.Add(-age), Tags: map[string]string{TagToken: "t", TagRun: "R1", TagPurpose: PurposeVerify}}
		for i := 0; i < len(tags); i += 2 {
			v.Tags[tags[i]] = tags[i+1]
		}
		return v
	}
	attached := scratch(48 * time.Hour)
	attached.State, attached.Attachments = "in-use", []ec2.Attachment{{InstanceID: "i-1"}}
	left := func(id, on string) ec2.Volume {
		v := scratch(time.Minute, TagRun, "R1")
		v.ID = id
		if on != "" {
			v.State, v.Attachments = "in-use", []ec2.Attachment{{InstanceID: on, Device: "/dev/sdp", State: "attached"}}
		}
		return v
	}
	for name, c := range map[string]struct {
		volume ec2.Volume
		want   string
	}{
		"left two days ago":    {scratch(48 * time.Hour), "goes"},
		"younger than a day":   {scratch(23 * time.Hour), "stays"},
		"of a run that can go": {scratch(48*time.Hour, TagRun, "here"), "stays"},
		"without a run":        {scratch(48*time.Hour, TagRun, ""), "stays"},
		"left attached":        {attached, "stays"}, // and is shown: nothing else does

		"left attached here by a drill that has ended":    {left("vol-2", "i-1"), "goes"},
		"left attached elsewhere":                         {left("vol-2", "i-2"), "stays"},
		"only the tags are those of a drill of this host": {left("vol-3", "i-1"), "stays"},
		"left here a moment ago, detached":                {left("vol-2", ""), "goes"},
	} {
		inv := Inventory{Now: noon, Here: "i-1", Left: map[string]string{"vol-2": "R1"}, Filter: map[string]string{"role": "db"}, Unfinished: map[string]bool{"here": true}, Volumes: []ec2.Volume{c.volume}}
		got := "unseen"
		for _, d := range decideOn(VolumeResource, inv) {
			if got = "stays"; d.Delete {
				got = "goes"
			}
		}
		if got != c.want {
			t.Errorf("%s: it %s, want %s", name, got, c.want)
		}
	}
}

func TestASetThatIsNotProvenIsAGap(t *testing.T) {
	now := noon.Add(10 * 24 * time.Hour)
	old, recent := now.Add(-9*24*time.Hour), now.Add(-24*time.Hour)
	for name, c := range map[string]struct {
		tags []map[string]string // of the sets, newest first
		max  time.Duration
		want string
	}{
		"nobody asks":                       {[]map[string]string{nil, nil}, 0, ""},
		"it failed, and nobody asks":        {[]map[string]string{FailedTags(recent, "torn"), nil}, 0, "its newest drilled set failed: torn"},
		"never":                             {[]map[string]string{nil, nil}, 8 * 24 * time.Hour, "no set was ever verified"},
		"an older set, recently":            {[]map[string]string{nil, VerifiedTags(recent, time.Minute)}, 8 * 24 * time.Hour, ""},
		"long ago":                          {[]map[string]string{nil, VerifiedTags(old, time.Minute)}, 8 * 24 * time.Hour, "its last successful drill was 9d ago (limit 8d)"},
		"the newest one failed":             {[]map[string]string{FailedTags(recent, "torn"), VerifiedTags(recent, time.Minute)}, 8 * 24 * time.Hour, "its newest drilled set failed: torn"},
		"an older one failed":               {[]map[string]string{VerifiedTags(recent, time.Minute), FailedTags(recent, "torn")}, 8 * 24 * time.Hour, ""},
		"a clock is wrong":                  {[]map[string]string{VerifiedTags(now.Add(time.Hour), time.Minute), nil}, 8 * 24 * time.Hour, "its last drill is in the future: a clock is wrong"},
		"failed, and later it was all well": {[]map[string]string{merge(FailedTags(old, "torn"), VerifiedTags(recent, time.Minute)), nil}, 8 * 24 * time.Hour, ""},
	} {
		all := snaps("14400 a R2/1", "0 a R1/1")
		all[0].Started = now.Add(-25 * time.Hour)
		for i := range all {
			all[i].VolumeID = "vol-1"
			maps.Copy(all[i].Tags, c.tags[i])
		}
		v := ec2.Volume{ID: "vol-1", Tags: map[string]string{TagMountPoint: "/mnt/a"}, Attachments: []ec2.Attachment{{InstanceID: "i-1", State: "attached"}}}
		got := Covered(Scope{Declared: []string{"/mnt/a"}, Group: true, MaxVerifyAge: c.max}, []ec2.Volume{v}, IndexOf(all), now, 26*time.Hour)
		if f := got[0]; f.OK != (c.want == "") || !strings.HasPrefix(f.Problem, c.want) {
			t.Errorf("%s: %t, %q; want %q", name, f.OK, f.Problem, c.want)
		}
	}
}
