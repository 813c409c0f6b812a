package render

import "strings"

// Repeat adds the flags of this invocation to each command in a text that an operator is told to type: without them it
// would look at another state folder. A command is in backquotes, as in "`snaptastic runs` lists them".
func (f Flags) Repeat(text string) string {
	const start = "`snaptastic "
	if f == "" || !strings.Contains(text, start) {
		return text
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, start)
		b.WriteString(before)
		command, after, closed := strings.Cut(rest, "`")
		if !found || !closed {
			if found {
				b.WriteString(start + rest)
			}
			return b.String()
		}
		b.WriteString("`" + f.After("snaptastic "+command) + "`")
		text = after
	}
}

// After is the command with the flags behind it.
func (f Flags) After(command string) string {
	return strings.TrimSpace(command + " " + string(f))
}

// Flags are those of this invocation that a later command needs as well, ready for a shell: "--state-dir /srv/state".
type Flags string

// FlagsOf joins flags with their values, quoted where a shell asks for it. Those without a value are left out.
func FlagsOf(pairs ...[2]string) Flags {
	var words []string
	for _, p := range pairs {
		if p[1] == "" {
			continue
		}
		value := p[1]
		if strings.ContainsFunc(value, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-", r)
		}) {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		words = append(words, p[0]+value)
	}
	return Flags(strings.Join(words, " "))
}
