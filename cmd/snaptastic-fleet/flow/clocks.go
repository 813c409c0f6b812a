package flow

import (
	"errors"
	"fmt"
	"time"
)

// A reading is a host's own time while it was asked, and the server's around it: what the host says lies between, whatever the
// messages took, unless one of the two clocks is wrong.
type reading struct {
	host            string
	asked, answered time.Time // by the server's clock
	begun, ended    time.Time // by the host's; zero from a worker of an earlier version
	err             time.Duration
}

// apart is by how much two clocks differ at least, beyond what both say that they may be wrong by. More than zero: what one of them
// says is false, and nobody knows how far it is off.
type apart struct {
	by            time.Duration
	ahead, behind string
	bearable      bool // to a snapshot that an earlier build began, if it leaves some of hold
}

// serverClocks is how far apart the nodes of one server may be: two events of one workflow may be timed by two of them.
const serverClocks = 100 * time.Millisecond

// drift is how long it takes a clock to be wrong by one more: the kernel reckons with 500 parts in a million.
const drift = 2000

// compare finds the two clocks that differ most. Nothing depends on the server's clock being right: it is the same for all hosts.
func compare(readings []reading) (a apart) {
	var least, most time.Duration // of a host's clock minus the server's
	seen := false
	for _, r := range readings {
		if r.begun.IsZero() || r.ended.IsZero() {
			continue
		}
		err := r.err + r.ended.Sub(r.begun)/drift // an honest clock may say its error at either end
		low, high := r.ended.Sub(r.answered)-err, r.begun.Sub(r.asked)+err
		if !seen || low > least {
			least, a.ahead = low, r.host
		}
		if !seen || high < most {
			most, a.behind = high, r.host
		}
		seen = true
	}
	a.by = max(0, least-most-serverClocks)
	return a
}

func (a apart) String() string {
	if a.ahead == a.behind {
		return fmt.Sprintf("the clock of %s was set by at least %s meanwhile", a.ahead, a.by.Round(time.Millisecond))
	}
	return fmt.Sprintf("the clock of %s is at least %s ahead of that of %s, beyond what both say that they may be wrong by", a.ahead, a.by.Round(time.Millisecond), a.behind)
}

// checkClocks refuses a clock that is wrong by more than it says, and a hold in which clocks as wrong as these could not prove an instant.
// It uses what messages show for certain: slow ones hide a difference, and never make one.
func checkClocks(readings []reading, hold time.Duration, bearable bool) error {
	a := compare(readings)
	if a.by > 0 && !bearable {
		return errors.New(a.String() + ". See on both which one is wrong (chronyc tracking), and set it: chronyc makestep")
	}
	var worst, next reading
	for _, r := range readings {
		switch {
		case r.err >= worst.err:
			worst, next = r, worst
		case r.err > next.err:
			next = r
		}
	}
	switch sum := worst.err + next.err; {
	case a.by+sum < hold:
		return nil
	case a.by > 0:
		return errors.New(a.String() + fmt.Sprintf(", and hold is %s. Set that clock: chronyc makestep", hold))
	default:
		return fmt.Errorf("the clock of %s may be wrong by %s, that of %s by %s, and hold is %s. Wait until they are synchronized better (chronyc waitsync), or raise hold",
			worst.host, worst.err.Round(time.Millisecond), next.host, next.err.Round(time.Millisecond), hold)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
