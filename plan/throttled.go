package plan

import "errors"

// ThrottledBy reports whether an error in err's chain says, by a method Throttling, that too many requests were sent.
func ThrottledBy(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Throttling() bool
	}](err)
	return ok && t.Throttling()
}
