package settings

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

const (
	maxPieces  = 100_000  // of a text that is split
	maxMatches = 10 << 20 // bytes of a pattern or cut set times bytes of the text
	maxFormat  = 1000     // columns and digits of one verb of format
)

// guards hold a function's arguments against what its result, or its work, would
// be, before it is called: afterwards is too late. The text that a guard returns
// says why the function is not called.
var guards = map[string]func(args []cty.Value) string{
	"replace":    guardReplace,
	"join":       guardJoin,
	"split":      guardSplit,
	"format":     guardFormat,
	"trim":       func(args []cty.Value) string { return guardMatches(size(args[1]), size(args[0])) },
	"jsondecode": func(args []cty.Value) string { return guardJSON(args[0]) },
}

// guarded is the function behind its guard.
func guarded(name string, f function.Function) function.Function {
	guard := guards[name]
	if guard == nil {
		return f
	}
	spec := &function.Spec{Description: f.Description(), Params: f.Params(), VarParam: f.VarParam()}
	check := func(args []cty.Value) error {
		for _, arg := range args {
			if !arg.IsWhollyKnown() || arg.IsNull() {
				return nil
			}
		}
		if why := guard(args); why != "" {
			return function.NewArgErrorf(0, "%s", why)
		}
		return nil
	}
	spec.Type = func(args []cty.Value) (cty.Type, error) {
		if err := check(args); err != nil {
			return cty.NilType, err
		}
		return f.ReturnTypeForValues(args)
	}
	spec.Impl = func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) }
	return function.New(spec)
}

// size is the number of bytes of a string.
func size(value cty.Value) int { return len(value.AsString()) }

func guardMatches(pattern, text int) string {
	if pattern > 0 && text > maxMatches/pattern {
		return "the pattern and the text are too long for each other"
	}
	return ""
}

const tooLong = "the result would have more than 1 MiB"

func guardReplace(args []cty.Value) string {
	text, old, with := args[0].AsString(), args[1].AsString(), args[2].AsString()
	if pattern, is := strings.CutPrefix(old, "/"); is && strings.HasSuffix(pattern, "/") { // a regular expression
		if why := guardMatches(len(old), len(text)); why != "" {
			return why
		}
		re, err := regexp.Compile(strings.TrimSuffix(pattern, "/"))
		if err != nil {
			return "" // the function says it
		}
		matches := len(re.FindAllStringIndex(text, -1))
		if each := len(with) + strings.Count(with, "$")*len(text); each > 0 && matches > maxText/each {
			return tooLong
		}
		return ""
	}
	if n := strings.Count(text, old); len(with) > 0 && n > (maxText-min(len(text), maxText))/len(with) {
		return tooLong
	}
	return ""
}

func guardJoin(args []cty.Value) string {
	n := 0
	for _, list := range args[1:] {
		for it := list.ElementIterator(); it.Next(); {
			if _, element := it.Element(); !element.IsNull() {
				n += size(element) + size(args[0])
			}
			if n > maxText+size(args[0]) {
				return tooLong
			}
		}
	}
	return ""
}

func guardSplit(args []cty.Value) string {
	if strings.Count(args[1].AsString(), args[0].AsString()) > maxPieces {
		return "the result would have more than 100,000 pieces"
	}
	return ""
}

var (
	verbWidth = regexp.MustCompile(`[0-9]{4,}`)
	verb      = regexp.MustCompile(`%[^%a-zA-Z]*[a-zA-Z]`)
	numeric   = regexp.MustCompile(`%[^%a-zA-Z]*[bdoxXeEfFgG]`)
)

func guardFormat(args []cty.Value) string {
	if len(args) == 0 || args[0].Type() != cty.String {
		return ""
	}
	text := args[0].AsString()
	for _, width := range verbWidth.FindAllString(text, -1) {
		if n, err := strconv.Atoi(width); err != nil || n > maxFormat {
			return "a width or precision above 1000"
		}
	}
	verbs := verb.FindAllString(strings.ReplaceAll(text, "%%", ""), -1)
	indexed := strings.Contains(text, "[")
	longest := maxFormat
	for i, arg := range args[1:] {
		longest = max(longest, bytesOf(arg))
		isNumeric := indexed || i < len(verbs) && numeric.MatchString(verbs[i])
		if arg.Type() == cty.String && isNumeric {
			if number, err := cty.ParseNumberVal(arg.AsString()); err == nil && !sensible(number.AsBigFloat()) {
				return "a number with too large an exponent"
			}
		}
	}
	if len(verbs)*longest > maxTexts {
		return tooLong
	}
	return ""
}

// bytesOf is about what a value has as JSON.
func bytesOf(value cty.Value) (n int) {
	switch {
	case !value.IsKnown() || value.IsNull():
		return 4
	case value.Type() == cty.String:
		return size(value) + 2
	case !value.CanIterateElements():
		return 350 // a number of the largest exponent
	}
	for it := value.ElementIterator(); it.Next(); {
		key, element := it.Element()
		n += bytesOf(key) + bytesOf(element) + 2
	}
	return n
}

func guardJSON(value cty.Value) string {
	if problem := checkJSON([]byte(value.AsString())); problem != "" && !strings.Contains(problem, "not JSON") {
		return "it " + strings.TrimSuffix(problem, ".")
	}
	return ""
}
