package plan

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"
)

// every fact by itself, so that none is forgotten where they are compared, added or written.
func every() map[string]Facts {
	out := map[string]Facts{}
	for i := range reflect.TypeFor[Facts]().NumField() {
		var f Facts
		switch v := reflect.ValueOf(&f).Elem().Field(i); v.Interface().(type) {
		case string:
			v.SetString("x")
		case int32, int64:
			v.SetInt(7)
		case float64:
			v.SetFloat(0.057)
		case time.Time:
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
		case *Drill:
			v.Set(reflect.ValueOf(&Drill{Set: "x"}))
		case *Warming:
			v.Set(reflect.ValueOf(&Warming{ReadBytes: 7}))
		case *Clock:
			v.Set(reflect.ValueOf(&Clock{Synchronized: true}))
		case []string:
			v.Set(reflect.ValueOf([]string{"x"}))
		case []Facts:
			v.Set(reflect.ValueOf([]Facts{{MountPoint: "/x"}}))
		}
		out[reflect.TypeFor[Facts]().Field(i).Name] = f
	}
	return out
}

func TestEachFactIsAddedAndReadBack(t *testing.T) {
	if none := (*Facts)(nil); !none.Empty() || !(&Facts{}).Empty() || none.AllWarnings() != nil {
		t.Error("nothing is something")
	}
	for name, f := range every() {
		if f.Empty() {
			t.Errorf("%s by itself is nothing", name)
		}
		var sum, back Facts
		sum.Add(f)
		if want := name != "Each"; reflect.DeepEqual(sum, f) != want {
			t.Errorf("%s: added to nothing it is %+v", name, sum)
		}
		if raw, err := json.Marshal(f); err != nil || json.Unmarshal(raw, &back) != nil || !reflect.DeepEqual(back, f) {
			t.Errorf("%s is written as %s, %v", name, raw, err)
		}
		if sum.Add(Facts{}); name != "Each" && !reflect.DeepEqual(sum, f) {
			t.Errorf("%s: with nothing added it is %+v", name, sum)
		}
	}
}

func TestLaterFactsAddToEarlierOnes(t *testing.T) {
	chosen := Facts{SnapshotID: "snap-2", Remarks: []string{"snap-3 failed"}, Warnings: []string{"one misses a tag"}}
	for name, c := range map[string]struct {
		of   []Facts
		want Facts
	}{
		"the later one counts":        {[]Facts{{Device: "/dev/sdf"}, {Device: "/dev/xvdf", SizeGiB: 1}, {SizeGiB: 2}}, Facts{Device: "/dev/xvdf", SizeGiB: 2}},
		"a remark is made once":       {[]Facts{{Remarks: []string{"a", "b"}}, {Remarks: []string{"b", "", "c"}}}, Facts{Remarks: []string{"a", "b", "c"}}},
		"chosen, then made from it":   {[]Facts{chosen, {VolumeID: "vol-1"}}, Facts{VolumeID: "vol-1", SnapshotID: "snap-2", Remarks: chosen.Remarks, Warnings: chosen.Warnings}},
		"chosen for one that is here": {[]Facts{{VolumeID: "vol-1"}, chosen}, Facts{VolumeID: "vol-1"}},
		"a snapshot of it was taken":  {[]Facts{{VolumeID: "vol-1", SnapshotID: "snap-1"}, {VolumeID: "vol-1", SnapshotID: "snap-2"}}, Facts{VolumeID: "vol-1", SnapshotID: "snap-2"}},
	} {
		var sum Facts
		for _, f := range c.of {
			sum.Add(f)
		}
		if !reflect.DeepEqual(sum, c.want) {
			t.Errorf("%s: %+v, want %+v", name, sum, c.want)
		}
	}
	// What a list is added to is not what another one shares with it.
	shared := make([]string, 1, 4)
	shared[0] = "a"
	one, two := Facts{Remarks: shared}, Facts{Remarks: shared}
	one.Add(Facts{Remarks: []string{"b"}})
	two.Add(Facts{Remarks: []string{"c"}})
	if !slices.Equal(one.Remarks, []string{"a", "b"}) || !slices.Equal(two.Remarks, []string{"a", "c"}) {
		t.Errorf("they share %v and %v", one.Remarks, two.Remarks)
	}
}

func TestWarningsNameTheMountPointThatTheyAreAbout(t *testing.T) {
	f := &Facts{Warnings: []string{"all"}, Each: []Facts{{MountPoint: "/a", Warnings: []string{"one", "two"}}, {MountPoint: "/b"}}}
	if got := f.AllWarnings(); !slices.Equal(got, []string{"all", "/a: one", "/a: two"}) {
		t.Errorf("%q", got)
	}
}
