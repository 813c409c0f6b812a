package plan

import (
	"errors"
	"fmt"
	"testing"
)

func TestTheOutermostHintIsGiven(t *testing.T) {
	cause := errors.New("busy")
	inner := WithHint("inner", cause)
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"none":             {cause, ""},
		"nil":              {nil, ""},
		"wrapped":          {fmt.Errorf("cannot mount: %w", inner), "inner"},
		"outermost":        {WithHint("outer", fmt.Errorf("cannot mount: %w", inner)), "outer"},
		"an empty one":     {WithHint("", inner), "inner"},
		"a type without":   {noHint{fmt.Errorf("cannot mount: %w", inner)}, "inner"},
		"one of several":   {errors.Join(cause, inner), "inner"},
		"for the operator": {Terminal("", inner), "inner"},
	} {
		if got := HintOf(c.err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.err != nil && !errors.Is(c.err, cause) {
			t.Errorf("%s: the cause is lost", name)
		}
	}
	if WithHint("hint", nil) != nil {
		t.Error("no error became one")
	}
}

// noHint could have a hint and has none.
type noHint struct{ error }

func (n noHint) Hint() string  { return "" }
func (n noHint) Unwrap() error { return n.error }
