package settings

import (
	"fmt"
	"math/big"
	"slices"
	"snaptastic/plan/units"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// A reader evaluates attributes and collects what is wrong with them. Its
// methods take an attribute that may be absent (nil) or null: both mean the
// default. ok is false for those and for a mistake, which is then noted.
type reader struct {
	scope   *hcl.EvalContext
	leadsTo func(mountPoint string) (string, error) // see Context; may be nil
	who     string                                  // inside a dynamic block: which turn of it, since all share their lines
	diags   hcl.Diagnostics

	lenient  bool // values that are not known are no mistakes; see Context.Lenient
	unknowns int  // how many there were
}

// noted counts what was said and what was passed over.
func (r *reader) noted() int { return len(r.diags) + r.unknowns }

func (r *reader) mistake(at hcl.Range, summary, detail string, args ...any) {
	diag := mistake(at, summary, detail, args...)
	if r.who != "" {
		diag.Detail += " This is about " + r.who + "."
	}
	r.diags = append(r.diags, diag)
}

func (r *reader) caution(at hcl.Range, summary, detail string, args ...any) {
	r.diags = append(r.diags, caution(at, summary, detail, args...))
}

// invalid notes that an attribute's value will not do.
func (r *reader) invalid(attr *hcl.Attribute, detail string, args ...any) {
	r.mistake(attr.Expr.Range(), "Invalid "+attr.Name, detail, args...)
	last := r.diags[len(r.diags)-1]
	discreet(last, attr.Expr, r.scope)
	last.Expression, last.EvalContext = attr.Expr, r.scope // for the values of its variables
}

// value evaluates an attribute.
func (r *reader) value(attr *hcl.Attribute) (cty.Value, bool) {
	if attr == nil {
		return cty.NilVal, false
	}
	value, diags := attr.Expr.Value(r.scope)
	for _, diag := range diags {
		diag := *diag
		explain(&diag)
		if secrets := secretsIn(attr.Expr, r.scope); len(secrets) > 0 {
			diag.Detail = without(diag.Detail, secrets)
		}
		r.diags = append(r.diags, &diag)
	}
	if diags.HasErrors() || value.IsNull() {
		return cty.NilVal, false
	}
	value, _ = value.UnmarkDeep()
	if !value.IsWhollyKnown() && r.lenient {
		r.unknowns++
		return cty.NilVal, false
	}
	if !value.IsWhollyKnown() {
		r.invalid(attr, "The value is not known.")
		return cty.NilVal, false
	}
	return value, true
}

// primitive evaluates an attribute and converts it as HCL does: "20" is a
// number, 20 is a string. want finishes the sentence `expected …`.
func (r *reader) primitive(attr *hcl.Attribute, ty cty.Type, want string) (cty.Value, bool) {
	value, ok := r.value(attr)
	if !ok {
		return cty.NilVal, false
	}
	if value.Type() == cty.String && ty == cty.Number {
		if number, err := cty.ParseNumberVal(value.AsString()); err == nil && !sensible(number.AsBigFloat()) {
			r.invalid(attr, "Expected %s; got a number with an exponent above %d.", want, maxExponent)
			return cty.NilVal, false
		}
	}
	converted, err := convert.Convert(value, ty)
	if err != nil || converted.IsNull() {
		r.invalid(attr, "Expected %s; got %s.", want, describe(value))
		return cty.NilVal, false
	}
	return converted, true
}

func (r *reader) text(attr *hcl.Attribute, want string) (string, bool) {
	value, ok := r.primitive(attr, cty.String, want)
	if !ok {
		return "", false
	}
	text := value.AsString()
	if at := strings.IndexFunc(text, isControl); at >= 0 {
		r.invalid(attr, "Expected %s; got a control character (%q).", want, []rune(text[at:])[0])
		return "", false
	}
	return text, true
}

func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029'
}

func (r *reader) boolean(attr *hcl.Attribute) (truth, ok bool) {
	value, ok := r.primitive(attr, cty.Bool, "true or false")
	return ok && value.True(), ok
}

// whole reads a whole number from low to high; unit is said in messages.
func (r *reader) whole(attr *hcl.Attribute, low, high int64, unit string) (int64, bool) {
	want := fmt.Sprintf("a whole number%s from %d to %d", unit, low, high)
	number, ok := r.integer(attr, want)
	if ok && (number < low || number > high) {
		r.invalid(attr, "Expected %s; got %d.", want, number)
		return 0, false
	}
	return number, ok
}

// integer reads a number without a fraction.
func (r *reader) integer(attr *hcl.Attribute, want string) (int64, bool) {
	value, ok := r.primitive(attr, cty.Number, want)
	if !ok {
		return 0, false
	}
	number, accuracy := value.AsBigFloat().Int64()
	if accuracy != big.Exact {
		r.invalid(attr, "Expected %s; got %s.", want, value.AsBigFloat().Text('g', 20))
		return 0, false
	}
	return number, true
}

// choice reads one of words.
func choice[T ~string](r *reader, attr *hcl.Attribute, words ...T) (T, bool) {
	known := make([]string, len(words))
	for i, word := range words {
		known[i] = string(word)
	}
	want := list(quoted(known), "or")
	text, ok := r.text(attr, want)
	if !ok {
		return "", false
	}
	if !slices.Contains(known, text) {
		hint := ""
		if near := Nearest(text, known); near != "" {
			hint = fmt.Sprintf(" Did you mean %q?", near)
		}
		r.invalid(attr, "Expected %s; got %q.%s", want, text, hint)
		return "", false
	}
	return T(text), true
}

// span reads a duration from low to high.
func (r *reader) span(attr *hcl.Attribute, low, high time.Duration) (time.Duration, bool) {
	const want = "a duration such as \"30s\", \"90m\", \"36h\", \"7d\" or \"2w\""
	text, ok := r.text(attr, want)
	if !ok {
		return 0, false
	}
	span, err := units.ParseDuration(text)
	switch {
	case err != nil:
		r.invalid(attr, "Cannot read %q as a duration: %v.", text, err)
		return 0, false
	case span < low || span > high:
		r.invalid(attr, "Expected a duration from %s to %s; got %q.", units.Limit(low), units.Limit(high), text)
		return 0, false
	}
	return span, true
}

// words reads a list of strings, or a single string that split cuts up.
func (r *reader) words(attr *hcl.Attribute, split func(string) ([]string, error), want string) ([]string, bool) {
	value, ok := r.value(attr)
	if !ok {
		return nil, false
	}
	if split != nil && value.Type() == cty.String {
		words, err := split(value.AsString())
		if err != nil {
			r.invalid(attr, "Expected %s; %v.", want, err)
			return nil, false
		}
		return words, true
	}
	ty := value.Type()
	if !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		r.invalid(attr, "Expected %s; got %s.", want, describe(value))
		return nil, false
	}
	words := []string{}
	for _, element := range value.AsValueSlice() {
		word, err := convert.Convert(element, cty.String)
		if err != nil || word.IsNull() {
			r.invalid(attr, "Expected %s; element %d is %s.", want, len(words)+1, describe(element))
			return nil, false
		}
		words = append(words, word.AsString())
	}
	return words, true
}

// kindOf is describe without the value itself.
func kindOf(value cty.Value) string {
	switch value.Type() {
	case cty.String:
		return "a string"
	case cty.Number:
		return "a number"
	}
	return describe(value)
}

// describe names a value's kind, and a short string itself.
func describe(value cty.Value) string {
	const short = 60
	switch ty := value.Type(); {
	case value.IsNull():
		return "null"
	case ty == cty.String && len(value.AsString()) <= short:
		return fmt.Sprintf("%q", value.AsString())
	case ty == cty.Number:
		return "the number " + value.AsBigFloat().Text('g', 20)
	case ty == cty.Bool && value.True():
		return "true"
	case ty == cty.Bool:
		return "false"
	case ty.IsTupleType() || ty.IsListType() || ty.IsSetType():
		return fmt.Sprintf("a list of %d", value.LengthInt())
	case ty.IsObjectType() || ty.IsMapType():
		return "a map"
	default:
		return "a " + ty.FriendlyName()
	}
}
