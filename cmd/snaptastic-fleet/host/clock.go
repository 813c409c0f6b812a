package host

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"golang.org/x/sys/unix"

	"snaptastic-fleet/flow"
)

// clock returns how wrong this host's clock may be, in seconds. A clock that is not synchronized is not ready for an instant
// (adjtimex(2)), unless the settings say that it is right all the same.
func (w *Worker) clock() (float64, error) {
	var t unix.Timex
	kernel := w.Kernel
	if kernel == nil {
		kernel = unix.Adjtimex
	}
	state, err := kernel(&t)
	if err != nil {
		return 0, err
	}
	switch synchronized := state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0; {
	case synchronized:
		return float64(t.Maxerror) / 1e6, nil
	case w.Config.TrustClock:
		return 0, nil
	}
	return 0, temporal.NewNonRetryableApplicationError("its clock is not synchronized: start chrony or systemd-timesyncd there", flow.NotReady, errors.New("adjtimex says so"))
}
