package host

import (
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/flow"
)

// refused is the error of what is not begun, whoever asks again.
func refused(why string) error {
	return temporal.NewNonRetryableApplicationError(why, flow.Refused, nil)
}

// failed is the error of what was begun, and to ask again would not change it.
func failed(why string) error { return temporal.NewNonRetryableApplicationError(why, flow.Failed, nil) }

// again is an error that may pass.
func again(why string) error { return temporal.NewApplicationError(why, flow.Again) }
