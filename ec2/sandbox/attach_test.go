package sandbox

import "testing"

// How many volumes an instance takes depends on its type, as the page of AWS has it.
func TestTheAttachmentLimitIsThatOfTheType(t *testing.T) {
	for name, want := range map[string]int{"m5.large": 27, "c6i.metal": 27, "m7i.large": 32, "r7iz.12xlarge": 32, "c7a.16xlarge": 48, "m7i.24xlarge": 64,
		"m7i.metal-24xl": 39, "r7a.48xlarge": 128, "m7i-flex.xlarge": 32, "": 27} {
		if got := attachmentLimit(name); got != want {
			t.Errorf("%s takes %d volumes, want %d", name, got, want)
		}
	}
}
