package render

import (
	"bytes"
	"slices"
	"testing"
)

func TestALongTableReadsAsOthersDo(t *testing.T) {
	header := []string{"A", "PATH", "LAST"}
	rows := [][]string{
		{"1", "/mnt/a", "short"},
		{"2", "/mnt/a/very/long/path/of/which/the/middle/is/lost", "and a last cell that is too wide", "beyond"},
		{"3\x1b", "", "\ttab"},
		{"4"},
	}
	for _, style := range []Style{{}, {Width: 60}, {Width: 30}, {Width: 80, Color: true}} {
		var short, long bytes.Buffer
		if err := Table(&short, header, rows, style); err != nil {
			t.Fatal(err)
		}
		if err := LongTable(&long, header, slices.Values(rows), style); err != nil {
			t.Fatal(err)
		}
		if short.String() != long.String() {
			t.Errorf("%+v: a long table is\n%s\nand another one\n%s", style, long.String(), short.String())
		}
	}
}

func TestALongListReadsAsOthersDo(t *testing.T) {
	type item struct {
		Name string `json:"name"`
		Deep []int  `json:"deep"`
	}
	type object struct {
		Items []item         `json:"items"`
		Rest  map[string]any `json:"rest"`
	}
	for _, o := range []object{
		{[]item{}, nil},
		{[]item{{"<a>", nil}}, map[string]any{"x": 1}},
		{[]item{{"a", []int{1, 2}}, {"b\n", []int{}}}, map[string]any{}},
	} {
		var short, long bytes.Buffer
		if err := JSON(&short, o); err != nil {
			t.Fatal(err)
		}
		if err := LongJSON(&long, "items", slices.Values(o.Items), Member{"rest", o.Rest}); err != nil {
			t.Fatal(err)
		}
		if short.String() != long.String() {
			t.Errorf("a long list is\n%s\nand another one\n%s", long.String(), short.String())
		}
	}
}
