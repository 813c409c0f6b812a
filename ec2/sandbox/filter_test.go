package sandbox

import (
	"strings"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		want           bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false}, {"a", "A", false},
		{"*", "", true}, {"*", "anything", true}, {"a*", "a", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"*c", "abd", false},
		{"a*c*e", "abcde", true}, {"a*c*e", "abcdf", false}, {"*ab", "aab", true}, {"?", "", false}, {"?", "x", true}, {"a?c", "abc", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\?`, "a?", true}, {`a\?`, "ab", false}, {`a\\`, `a\`, true}, {`*\**`, "x*y", true},
		{strings.Repeat("*a", 50), strings.Repeat("a", 49), false},
	} {
		began := time.Now()
		if got := glob(test.pattern, test.value); got != test.want {
			t.Errorf("glob(%q, %q) = %t", test.pattern, test.value, got)
		}
		if took := time.Since(began); took > 20*time.Second { // an exponential one takes years
			t.Errorf("glob(%q, %q) took %v", test.pattern, test.value, took)
		}
	}
}
