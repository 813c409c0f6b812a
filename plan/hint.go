package plan

import "errors"

// Hinted is an error that says what an operator can do about it.
type Hinted interface {
	error
	Hint() string // an imperative, such as "detach vol-0abc or choose another device name"; "" for none
}

// HintOf returns the hint of the outermost error in err's chain that has one; "" for none.
func HintOf(err error) string {
	for h, ok := errors.AsType[Hinted](err); ok; h, ok = errors.AsType[Hinted](errors.Unwrap(h)) {
		if hint := h.Hint(); hint != "" {
			return hint
		}
	}
	return ""
}

// WithHint adds a hint to err, which says the same as before. It goes before the hints of the errors inside.
func WithHint(hint string, err error) error {
	if hint == "" || err == nil {
		return err
	}
	return &hinted{err, hint}
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }
