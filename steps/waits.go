package steps

import (
	"slices"

	"snaptastic/plan"
)

// waiting are the kinds that only wait, for EC2 or for the kernel.
var waiting = []plan.Kind{WaitSnapshot.Kind, WaitAvailable.Kind, WaitDevice.Kind, WaitDetached.Kind, WaitCopied.Kind}

// Waits reports whether a step of this kind does nothing but wait, for EC2 or for the kernel.
func Waits(k plan.Kind) bool { return slices.Contains(waiting, k) }
