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

// LongJSON is JSON for an object with two members, of which the first is a list
// that is too long to be kept.
func LongJSON[T any](w io.Writer, name string, list iter.Seq[T], restName string, rest any) error {
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
	if err := value(end+",\n  ", "", restName); err != nil {
		return err
	}
	if err := value(": ", "  ", rest); err != nil {
		return err
	}
	if _, err := out.WriteString("\n}\n"); err != nil {
		return err
	}
	return out.Flush()
}
