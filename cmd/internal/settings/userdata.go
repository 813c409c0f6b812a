package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// userdata is the parsed user data and where it came from.
type userdata struct {
	value cty.Value // an object; the zero Value when nothing asked for it
	name  string    // for messages: userdata (from SOURCE)
}

const maxUserdataDepth = 64

// parseUserdata reads a JSON object. problem ends a sentence that begins with
// the userdata's name; it never repeats the text, which may hold secrets.
func parseUserdata(raw []byte) (value cty.Value, problem string) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
		return cty.NilVal, "is empty. Expected a JSON object, such as {\"role\": \"db\"}."
	case len(raw) > MaxBytes:
		return cty.NilVal, fmt.Sprintf("has %d bytes, which is more than 1 MiB.", len(raw))
	case !utf8.Valid(raw):
		return cty.NilVal, "is not UTF-8 text. Expected a JSON object."
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(raw, new(json.RawMessage)); errors.As(err, &syntax) {
		return cty.NilVal, fmt.Sprintf("is not JSON: at byte %d: %v. Expected a JSON object.", syntax.Offset, syntax)
	} else if err != nil {
		return cty.NilVal, fmt.Sprintf("is not JSON: %v. Expected a JSON object.", err)
	}
	if raw[0] != '{' {
		return cty.NilVal, "is JSON, but no object. Expected an object, such as {\"role\": \"db\"}."
	}
	if problem := checkJSON(raw); problem != "" {
		return cty.NilVal, problem
	}
	ty, err := ctyjson.ImpliedType(raw)
	if err == nil {
		value, err = ctyjson.Unmarshal(raw, ty)
	}
	if err != nil {
		return cty.NilVal, fmt.Sprintf("cannot be read: %v.", err)
	}
	return value, ""
}

// CheckUserdata says what keeps userdata from being read, whether or not a
// snapshotter needs it; from is its name in the error.
func CheckUserdata(raw []byte, from string) error {
	if _, problem := parseUserdata(raw); problem != "" {
		return errors.New(from + " " + strings.TrimSuffix(problem, "."))
	}
	return nil
}

// checkJSON refuses what would take the evaluator's stack or memory.
func checkJSON(raw []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if err != nil {
			return fmt.Sprintf("is not JSON: %v.", err)
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
		case json.Number:
			if !sensibleNumber([]byte(token)) {
				return fmt.Sprintf("has a number of more than %d digits or an exponent above %d.", maxDigits, maxExponent)
			}
		}
		if depth > maxUserdataDepth {
			return fmt.Sprintf("nests more than %d levels deep.", maxUserdataDepth)
		}
	}
}
