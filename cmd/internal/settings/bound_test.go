package settings

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// nested is a for expression of depth loops over userdata.ten around body.
func nested(depth int, body string) string {
	for n := range depth {
		body = fmt.Sprintf("[for v%d in userdata.ten : %s]", n, body)
	}
	return body
}

// doubled gives each of depth variables twice what the one before has.
func doubled(depth int, twice, start string) string {
	expr := "x"
	for range depth {
		expr = fmt.Sprintf("[for x in [%s] : %s][0]", twice, expr)
	}
	return fmt.Sprintf("[for x in [%s] : %s][0]", start, expr)
}

// What asks for more than a machine has is a mistake on its line, soon, and not
// the end of the machine. Each of these once took minutes or gigabytes.
func TestNoExpressionTakesTheMachine(t *testing.T) {
	tests := map[string]struct{ expr, userdata string }{
		"exponent":                 {`userdata.s`, `{"s":"1e9999999"}`},
		"negative exponent":        {`userdata.s`, `{"s":"1e-9999999"}`},
		"larger exponent":          {`userdata.s`, `{"s":"1e99999999999"}`},
		"exponent in an addition":  {`userdata.s + 1`, `{"s":"1e9999999"}`},
		"exponent in a product":    {`1 * userdata.s`, `{"s":"1e9999999"}`},
		"exponent in a negation":   {`-userdata.s`, `{"s":"1e9999999"}`},
		"exponent in a template":   {`"${1 * userdata.s}0"`, `{"s":"1e9999999"}`},
		"exponent in tonumber":     {`tonumber(userdata.s)`, `{"s":"1e9999999"}`},
		"exponent in max":          {`max(userdata.s, 1)`, `{"s":"1e9999999"}`},
		"exponent in format":       {`format("%d", userdata.s)`, `{"s":"1e9999999"}`},
		"exponent in jsondecode":   {`jsondecode(userdata.s)`, `{"s":"1e9999999"}`},
		"exponent put together":    {`tonumber("${userdata.s}999999")`, `{"s":"1e9"}`},
		"exponent by squares":      {doubled(40, "x*x", "10"), `{}`},
		"width":                    {`length(format("%1000000000d", 1))`, `{}`},
		"precision":                {`length(format("%.1000000000f", 1))`, `{}`},
		"replace by replace":       {doubled(40, `replace(x, "a", "aa")`, `"a"`), `{}`},
		"replace of nothing":       {doubled(8, `replace(x, "", x)`, `"aaaaaaaaaa"`), `{}`},
		"replace by a pattern":     {doubled(12, `replace(x, "/(.*)/", "$1$1$1$1$1$1$1$1$1$1")`, `"a"`), `{}`},
		"template of templates":    {doubled(40, `"${x}${x}"`, `"aaaaaaaaaa"`), `{}`},
		"one long template":        {`length("` + strings.Repeat("${userdata.s}", 300) + `")`, `{"s":"` + strings.Repeat("x", 900_000) + `"}`},
		"join of joins":            {doubled(30, `join(x, [x, x, x])`, `"aaaaaaaaaa"`), `{}`},
		"lists of lists":           {doubled(40, `[x, x]`, `"a"`), `{}`},
		"lists of lists, compared": {doubled(40, `[x, x]`, `"a"`) + ` == ` + doubled(40, `[x, x]`, `"a"`), `{}`},
		"concat":                   {doubled(40, `concat(x, x)`, `["a"]`), `{}`},
		"objects of objects":       {doubled(40, `{ a = x, b = x }`, `"a"`), `{}`},
		"jsonencode":               {doubled(40, `jsonencode([x, x])`, `"\""`), `{}`},
		"nested loops":             {`length(` + nested(9, `"a"`) + `)`, `{"ten":[0,1,2,3,4,5,6,7,8,9]}`},
		"nested loops of nothing":  {`length([for a in userdata.big : [for b in userdata.big : [for c in userdata.big : c if false]]])`, `{"big":[` + strings.Repeat("0,", 20_000) + `0]}`},
		"distinct":                 {`length(distinct(userdata.big))`, `{"big":[` + numbers(50_000) + `]}`},
		"split":                    {`length(split("", userdata.s))`, `{"s":"` + strings.Repeat("x", 900_000) + `"}`},
		"trim":                     {`length(trim(userdata.s, userdata.s))`, `{"s":"` + strings.Repeat("x", 400_000) + `"}`},
		"pattern":                  {`replace(userdata.s, "/(x?){500}y/", "")`, `{"s":"` + strings.Repeat("x", 900_000) + `"}`},
		"unknown key":              {`userdata.big["` + strings.Repeat("y", 10_000) + `"]`, `{"big":{"` + strings.Repeat("x", 400_000) + `":1}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Parse("bomb.hcl", []byte("snapshotter \"s\" {\n  filter_tags = { a = \"b\" }\n  volume \"/dev/sdf\" {\n    mount_point = \"/data\"\n    size = "+test.expr+"\n  }\n}\n"))
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = f.Spec("s", Context{UserData: []byte(test.userdata)})
			var mistake *Error
			if !errors.As(err, &mistake) {
				t.Fatalf("got %v, want a mistake", err)
			}
			if text := err.Error(); !strings.Contains(text, "line 5") || len(text) > 64<<10 || strings.Contains(text, "of memory") {
				t.Errorf("%d bytes: %.500s", len(text), text)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func numbers(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "%d,", i)
	}
	return all.String() + "0"
}

// Blocks of a dynamic block are bounded before they are made.
func TestADynamicBlockHasABoundedNumberOfBlocks(t *testing.T) {
	f, err := Parse("bomb.hcl", []byte("snapshotter \"s\" {\n  filter_tags = { a = \"b\" }\n  dynamic \"volume\" {\n    for_each = userdata.big\n    labels = [\"/dev/sdf\"]\n    content {\n      mount_point = \"/data\"\n    }\n  }\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Spec("s", Context{UserData: []byte(`{"big":[` + strings.Repeat("0,", 300_000) + `0]}`)})
	if err == nil || !strings.Contains(err.Error(), "line 4") || !strings.Contains(err.Error(), "at most 1000 elements; got 300001") {
		t.Errorf("got %.500v", err)
	}
}

// What an honest file does stays possible.
func TestLargeHonestUserdataIsEvaluated(t *testing.T) {
	var volumes []string
	for i := range 11 {
		volumes = append(volumes, fmt.Sprintf(`{"device":"/dev/sd%c","mount_point":"/m/%d","size":"%d"}`, 'f'+i, i, i+1))
	}
	f, err := Parse("s.hcl", []byte(`
snapshotter "s" {
  filter_tags = merge({ role = userdata.role }, { for k, v in userdata.tags : k => upper(v) })
  description = format("%s %-20s of %s at %5.1f", userdata.role, "snapshot", volume.mount_point, 7)
  dynamic "volume" {
    for_each = [for v in userdata.volumes : v if contains(distinct([for x in userdata.volumes : x.mount_point]), v.mount_point)]
    labels   = [replace(volume.value.device, "/^(.*)$/", "$1")]
    content {
      mount_point = join("/", split("/", volume.value.mount_point))
      size        = tonumber(volume.value.size) * 2
    }
  }
}
`))
	if err != nil {
		t.Fatal(err)
	}
	data := fmt.Sprintf(`{"role":"7e99999","tags":{"a":"b"},"volumes":[%s],"rest":%q}`, strings.Join(volumes, ","), strings.Repeat("x", 500_000))
	spec, err := f.Spec("s", Context{UserData: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Volumes) != 11 || spec.Volumes[10].Size != 22 || spec.FilterTags["role"] != "7e99999" {
		t.Errorf("%d volumes, the last is %+v; tags %v", len(spec.Volumes), spec.Volumes[len(spec.Volumes)-1], spec.FilterTags)
	}
}
