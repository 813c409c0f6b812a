package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A bootBudget is how long the unattended commands of one boot wait together for a metadata service, a role or an EC2 that
// does not answer: what `resume` has waited, the mount units behind it must not wait again.
//
// It is a file in /run, which has room when the root disk is full and is gone after a reboot. Where it cannot be written
// every command waits by itself. It counts for the boot that it names, and until it is twice as old as the wait: who
// comes later, an operator for instance, waits for the full time again.
type bootBudget struct {
	path string
	boot string
	read bool
	rec  budgetRecord
}

// budgetRecord counts in seconds since the machine started, so that setting the clock does not change it.
type budgetRecord struct {
	Boot  string  `json:"boot"`
	Begun float64 `json:"begun_seconds"`
	Until float64 `json:"until_seconds"`
}

// budgetDir is where budgets are kept.
var budgetDir = "/run/snaptastic"

// minPatience is for how long each command may ask on whatever others have waited.
const minPatience = 10 * time.Second

func budgetOf(stateDir, boot string) *bootBudget {
	if abs, err := filepath.Abs(stateDir); err == nil {
		stateDir = abs
	}
	sum := sha256.Sum256([]byte(stateDir))
	b := &bootBudget{path: filepath.Join(budgetDir, "waiting-"+hex.EncodeToString(sum[:8])), boot: boot}
	body, err := os.ReadFile(b.path)
	b.read = err == nil && json.Unmarshal(body, &b.rec) == nil && b.rec.Boot == boot
	return b
}

// left is what this command may wait of bound.
func (b *bootBudget) left(bound time.Duration) time.Duration {
	now := uptime()
	if !b.read || b.rec.Until <= b.rec.Begun || now < b.rec.Begun || now-b.rec.Until > b.rec.Until-b.rec.Begun {
		b.read = false
		return bound
	}
	return min(bound, max(minPatience, seconds(b.rec.Until-now)))
}

// begin notes that the waiting of this boot has begun, if nobody has.
func (b *bootBudget) begin(until time.Time) {
	if b == nil || b.read {
		return
	}
	now := uptime()
	b.read, b.rec = true, budgetRecord{Boot: b.boot, Begun: now, Until: now + time.Until(until).Seconds()}
	body, err := json.Marshal(b.rec)
	if err != nil || os.MkdirAll(budgetDir, 0o755) != nil {
		return
	}
	if os.WriteFile(b.path+".new", body, 0o600) == nil {
		_ = os.Rename(b.path+".new", b.path)
	}
}

// end forgets the waiting: what was waited for is there.
func (b *bootBudget) end() {
	if b != nil && b.read {
		b.read = false
		_ = os.Remove(b.path)
	}
}

// uptime is the time since the machine started, sleep included, in seconds.
func uptime() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return float64(t.Sec) + float64(t.Nsec)/1e9
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
