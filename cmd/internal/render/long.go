package render

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"iter"
)

// LongTable is Table for rows that are too many to be kept: each is made twice,
// first to learn how wide the columns are.
func LongTable(w io.Writer, header []string, rows iter.Seq[[]string], o Style) error {
	l := layoutOf(header)
	for row := range rows {
		l.widen(row)
	}
	l.squeeze(0, header, o)
	out := bufio.NewWriter(w)
	p := page{style: o}
	p.header(l, "", header)
	for row := range rows {
		p.row(l, "", row, nil)
		if err := p.writeTo(out); err != nil {
			return err
		}
		p.Reset()
	}
	if err := p.writeTo(out); err != nil {
		return err
	}
	return out.Flush()
}

// A Member is a member of a JSON object.
type Member struct {
	Name  string
	Value any
}

// LongJSON is JSON for an object whose first member is a list that is too long
// to be kept.
func LongJSON[T any](w io.Writer, name string, list iter.Seq[T], rest ...Member) error {
	out := bufio.NewWriter(w)
	value := func(before, indent string, v any) error {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent(indent, "  ")
		if err := e.Encode(v); err != nil {
			return err
		}
		if _, err := out.WriteString(before); err != nil {
			return err
		}
		_, err := out.Write(bytes.TrimRight(b.Bytes(), "\n"))
		return err
	}
	if err := value("{\n  ", "", name); err != nil {
		return err
	}
	before, end := ": [\n    ", ": []"
	for one := range list {
		if err := value(before, "    ", one); err != nil {
			return err
		}
		before, end = ",\n    ", "\n  ]"
	}
	if _, err := out.WriteString(end); err != nil {
		return err
	}
	for _, m := range rest {
		if err := value(",\n  ", "", m.Name); err != nil {
			return err
		}
		if err := value(": ", "  ", m.Value); err != nil {
			return err
		}
	}
	if _, err := out.WriteString("\n}\n"); err != nil {
		return err
	}
	return out.Flush()
}
