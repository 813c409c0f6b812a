package report

import (
	"testing"

	"snaptastic/plan"
)

func TestTheTitlesOfLanesLeaveOutTheFoldersInCommon(t *testing.T) {
	for _, tt := range []struct {
		lanes []string
		want  []string
	}{
		{[]string{"/var/lib/postgresql/data", "/var/lib/postgresql/wal"}, []string{"…/data", "…/wal"}},
		{[]string{"/var/lib/postgresql/data", "/srv/wal"}, []string{"/var/lib/postgresql/data", "/srv/wal"}},
		// What a row has room for beside the lane's state is about 14 letters: these would all read /mnt/data/sha…
		{[]string{"/mnt/data/shard1", "/mnt/data/shard2"}, []string{"…/shard1", "…/shard2"}},
		{[]string{"/srv/elastic-01", "/srv/elastic-02"}, []string{"…/elastic-01", "…/elastic-02"}},
		{[]string{"/mnt/shard1", "/mnt/shard2"}, []string{"/mnt/shard1", "/mnt/shard2"}},
		{[]string{"/a", "/b"}, []string{"/a", "/b"}},
		{[]string{"/", "/b"}, []string{"/", "/b"}},
		// Lanes of a cleanup are ids.
		{[]string{"snap-0123456789abcdef0", "/var/lib/postgresql/data", "vol-0123"}, []string{"snap-0123456789abcdef0", "/var/lib/postgresql/data", "vol-0123"}},
		{[]string{"/var/lib/postgresql/data", "snap-0123456789abcdef0"}, []string{"/var/lib/postgresql/data", "snap-0123456789abcdef0"}},
		{[]string{"20261128T100446454-cdbb/0123456789abcdef", "20261127T100446454-cdbb/0123456789abcdef", "/a"},
			[]string{"20261128T100446454-cdbb/0123456789abcdef", "20261127T100446454-cdbb/0123456789abcdef", "/a"}},
	} {
		var lanes []plan.Lane
		for _, id := range tt.lanes {
			lanes = append(lanes, plan.Lane{ID: id})
		}
		got := shortTitles(lanes)
		for i, id := range tt.lanes {
			if got[id] != tt.want[i] {
				t.Errorf("%q: %q, want %q", id, got[id], tt.want[i])
			}
		}
	}
}
