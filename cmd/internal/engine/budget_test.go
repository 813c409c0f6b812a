package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestABudgetIsValidForItsBootAndExpires(t *testing.T) {
	was := budgetDir
	budgetDir = t.TempDir()
	defer func() { budgetDir = was }()
	fresh := func(boot string) *bootBudget { return budgetOf("/state", boot) }
	fresh("one").begin(time.Now().Add(5 * time.Minute))
	if left := fresh("one").left(5 * time.Minute); left > 5*time.Minute || left < 4*time.Minute {
		t.Errorf("a second command has %s of what the first left", left)
	}
	for _, other := range []*bootBudget{fresh("two"), budgetOf("/elsewhere", "one")} {
		if left := other.left(5 * time.Minute); left != 5*time.Minute {
			t.Errorf("another boot or another folder has %s", left)
		}
	}
	aged := func(ago time.Duration) {
		now := uptime()
		body, _ := json.Marshal(budgetRecord{Boot: "one", Begun: now - ago.Seconds(), Until: now - ago.Seconds() + 300})
		if err := os.WriteFile(fresh("one").path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for ago, want := range map[time.Duration]time.Duration{6 * time.Minute: minPatience, 9 * time.Minute: minPatience, 11 * time.Minute: 5 * time.Minute} {
		aged(ago)
		if left := fresh("one").left(5 * time.Minute); left != want {
			t.Errorf("%s after the wait began there are %s, want %s", ago, left, want)
		}
	}
	for _, broken := range []string{"", "{", `{"boot":"one"}`, `{"boot":"one","begun_seconds":1e300,"until_seconds":2e300}`} {
		if err := os.WriteFile(fresh("one").path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if left := fresh("one").left(5 * time.Minute); left != 5*time.Minute {
			t.Errorf("%q leaves %s", broken, left)
		}
	}
	budgetDir = filepath.Join(fresh("one").path, "no folder")
	b := fresh("one")
	b.begin(time.Now().Add(time.Minute)) // cannot be written: everybody waits by himself
	if left := fresh("one").left(5 * time.Minute); left != 5*time.Minute {
		t.Errorf("without a record there are %s", left)
	}
	b.end()
	(*bootBudget)(nil).begin(time.Now())
	(*bootBudget)(nil).end()
}
