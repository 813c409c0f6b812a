package recipe

import (
	"fmt"
	"slices"
)

// A Flag is an option of an operation: on the command line a flag, in a request a value by the flag's name.
type Flag struct {
	Name    string
	Default any // its type is the type of all its values: bool or string
	Help    string
}

// Options are the values of an operation's flags by name. Those that are missing have their default.
type Options map[string]any

// Bool returns the value of a flag whose default is a bool.
func (o Options) Bool(f Flag) bool { return valueOf[bool](o, f) }

// Text returns the value of a flag whose default is a string.
func (o Options) Text(f Flag) string { return valueOf[string](o, f) }

func valueOf[T any](o Options, f Flag) T {
	if v, given := o[f.Name]; given {
		return v.(T) // check has seen it
	}
	return f.Default.(T)
}

// check refuses options that the operation does not have.
func (o Options) check(op *Operation) error {
	for name, value := range o {
		i := slices.IndexFunc(op.Flags, func(f Flag) bool { return f.Name == name })
		if i < 0 {
			return fmt.Errorf("%s has no option %q", op.Name, name)
		}
		if want := fmt.Sprintf("%T", op.Flags[i].Default); fmt.Sprintf("%T", value) != want {
			return fmt.Errorf("option %q is a %T; expected a %s", name, value, want)
		}
	}
	return nil
}
