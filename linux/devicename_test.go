package linux

import (
	"slices"
	"testing"
)

func TestCanonicalDeviceName(t *testing.T) {
	for _, c := range []struct {
		name, want string
		translated bool
	}{
		{"/dev/sdf", "/dev/sdf", false},
		{"/dev/sdb", "/dev/sdb", false},
		{"/dev/xvdf", "/dev/xvdf", false},
		{"/dev/xvdba", "/dev/xvdba", false},
		{"sdf", "/dev/sdf", true},
		{"/dev/sdf1", "/dev/sdf", true},
		{"/dev/sdp15", "/dev/sdp", true},
		{"/dev/xvdg3", "/dev/xvdg", true},
		{"/dev/sda", "", false},
		{"/dev/sda1", "", false},
		{"/dev/xvda", "", false},
		{"/dev/nvme1n1", "", false},
		{"/dev/sdf16", "", false},
		{"/dev/sdF", "", false},
		{"/dev/../dev/sdf", "", false},
		{"/dev/sdf\n", "", false},
		{"", "", false},
	} {
		got, translated, err := CanonicalDeviceName(c.name)
		if got != c.want || translated != c.translated || (err == nil) != (c.want != "") {
			t.Errorf("CanonicalDeviceName(%q) = %q, %v, %v; want %q, %v", c.name, got, translated, err, c.want, c.translated)
		}
	}
}

func TestKernelNamesShiftByTheOffset(t *testing.T) {
	for _, c := range []struct {
		name   string
		offset int
		want   []string
	}{
		{"/dev/sdf", 0, []string{"xvdf", "sdf"}},
		{"/dev/sdf1", 0, []string{"xvdf", "sdf"}},
		{"/dev/xvdf", 0, []string{"xvdf"}},
		{"/dev/sdf", 4, []string{"xvdj"}},
		{"/dev/xvdbc", 1, []string{"xvdbd"}},
		{"/dev/sdz", 4, nil},
	} {
		got, err := kernelNames(c.name, c.offset)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("kernelNames(%q, %d) = %v, %v; want %v", c.name, c.offset, got, err, c.want)
		}
	}
}

func TestUUIDFromTokenIsStableAndWellFormed(t *testing.T) {
	a, b := UUIDFromToken("run-1/create/1"), UUIDFromToken("run-1/create/2")
	if a == b || a != UUIDFromToken("run-1/create/1") {
		t.Errorf("tokens must map one to one: %s %s", a, b)
	}
	// RFC 9562: version 8 in the 13th digit, variant 10 in the 17th.
	if len(a) != 36 || a[14] != '8' || (a[19] != '8' && a[19] != '9' && a[19] != 'a' && a[19] != 'b') {
		t.Errorf("%s is not a version 8 UUID", a)
	}
}
