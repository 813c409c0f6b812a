package snapset

import "testing"

// What a tag asks to lock is what somebody wrote there, to the letter, or nothing.
func TestALockWishIsReadToTheLetter(t *testing.T) {
	for _, w := range []LockWish{{"governance", 14, 0}, {"compliance", 30, 24}, {"compliance", 36500, 1}} {
		if got, err := ParseLockWish(w.String()); err != nil || got != w {
			t.Errorf("%s: %+v, %v", w, got, err)
		}
	}
	for _, tag := range []string{"", "governance", "governance 14", "governance 0d", "governance -1d", "governance 14d ", " governance 14d", "governance 14d 0h", "Governance 14d", "open 14d",
		"compliance 30d 24h x", "governance 014d", "governance 99999999999d", "governance 1d\n"} {
		if w, err := ParseLockWish(tag); err == nil {
			t.Errorf("%q was read as %+v", tag, w)
		}
	}
}
