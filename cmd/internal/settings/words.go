package settings

import (
	"errors"
	"strings"
)

// splitWords cuts a line into words as a shell would: blanks separate, quotes
// and backslashes keep together. Nothing is expanded.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote is left open")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// splitCommas cuts mount options at commas that stand outside double quotes
// (an SELinux context holds commas), as mount(8) does.
func splitCommas(line string) ([]string, error) {
	var words []string
	start, quoted := 0, false
	for i := 0; i <= len(line); i++ {
		switch {
		case i < len(line) && line[i] == '"':
			quoted = !quoted
		case i == len(line) || line[i] == ',' && !quoted:
			if word := strings.TrimSpace(line[start:i]); word != "" {
				words = append(words, word)
			}
			start = i + 1
		}
	}
	if quoted {
		return nil, errors.New("a quote is left open")
	}
	return words, nil
}
