package settings

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Whatever a setting makes of a value of userdata or of the environment, no
// mistake about it prints the value: neither its message nor the source below it.
func TestNoMistakePrintsAValueOfUserdata(t *testing.T) {
	exprs := []string{
		`%s`, `"${%s}"`, `upper(%s)`, `"x-${%s}"`, `[%s]`, `{ a = %s }`, `%s + 1`, `-%s`, `tonumber(%s)`, `tobool(%s)`, `lookup({}, %s)`, `{}[%s]`, `{ a = 1 }[%s]`, `%s.nothing`, `%s[0]`,
		`jsondecode(%s)`, `format("%%d", %s)`, `[for x in [%s] : x.nothing]`, `[for x in [%s] : x + 1]`, `[for x in [upper(%s)] : x + 1]`, `true ? %s : 1`, `%s ? 1 : 2`, `split(",", %s)`, `element([1], %s)`,
		`merge(%s, {})`, `zipmap([%s], 5)`, `keys(%s)`, `[for x in [%s] : userdata[x]]`, `{ for x in [%s, %[1]s] : x => 1 }`, `replace(%s, "/(/", "")`, `length(%s)`, `coalesce(%s)`, `can(%s.x) ? 1 : %[1]s`,
	}
	attrs := []string{"mount_point", "size", "file_system", "mount_options", "mkfs_options", "volume_type", "iops", "throughput", "encrypted", "kms_key_id", "delete_on_termination", "initialization_rate", "device_name_offset"}
	outer := []string{"filter_tags", "expire_after", "consistency", "on_missing", "restore", "description", "max_hold", "freeze_expedite"}
	hook := []string{"command", "timeout", "repeatable", "on_failure", "when", "hold"}
	mistakes := 0
	for _, secretly := range []string{"userdata.password", "userdata.deep.list[0]", "userdata.number", "env.PASSWORD"} {
		for _, e := range exprs {
			expr := fmt.Sprintf(e, secretly)
			for _, where := range [][]string{attrs, outer, hook, {"dynamic", "label", "hook label"}} {
				for _, attr := range where {
					err := tellOf(t, attr, expr)
					var mistake *Error
					if !errors.As(err, &mistake) {
						continue
					}
					mistakes++
					for _, secret := range []string{"hunter2", "8765309"} {
						if strings.Contains(strings.ToLower(err.Error()+strings.Join(mistake.Lines(), "\n")), secret) {
							t.Errorf("%s = %s: %v", attr, expr, err)
						}
					}
				}
			}
		}
	}
	if mistakes < 1000 {
		t.Errorf("only %d mistakes", mistakes)
	}
}

// tellOf evaluates a snapshotter with the expression in one place.
func tellOf(t *testing.T, attr, expr string) error {
	t.Helper()
	set := map[string]string{"mount_point": `"/data"`, "filter_tags": `{ a = "b" }`}
	in := func(names ...string) string {
		var lines strings.Builder
		for _, n := range names {
			value := set[n]
			if n == attr {
				value = expr
			}
			if value != "" {
				fmt.Fprintf(&lines, "    %s = %s\n", n, value)
			}
		}
		return lines.String()
	}
	text := "snapshotter \"s\" {\n" + in("filter_tags", "expire_after", "consistency", "on_missing", "restore", "description", "max_hold", "freeze_expedite") +
		"  volume \"/dev/sdf\" {\n" + in("mount_point", "size", "file_system", "mount_options", "mkfs_options", "volume_type", "iops", "throughput", "encrypted", "kms_key_id", "delete_on_termination", "initialization_rate", "device_name_offset") + "  }\n"
	set["command"] = `["true"]`
	text += "  hook \"post_snapshots\" {\n" + in("command", "timeout", "repeatable", "on_failure", "when", "hold") + "  }\n"
	switch attr {
	case "dynamic":
		text += "  dynamic \"volume\" {\n    for_each = [" + expr + "]\n    labels = [\"/dev/sdg\"]\n    content {\n      mount_point = volume.value\n      size = volume.value\n      kms_key_id = \"${volume.value}\"\n    }\n  }\n"
	case "label":
		text += "  dynamic \"volume\" {\n    for_each = [1]\n    labels = [" + expr + "]\n    content {\n      mount_point = \"relative\"\n    }\n  }\n"
	case "hook label":
		text += "  dynamic \"hook\" {\n    for_each = [1]\n    labels = [" + expr + "]\n    content {\n      command = \"\"\n    }\n  }\n"
	}
	f, err := Parse("s.hcl", []byte(text+"}\n"))
	if err != nil {
		return nil
	}
	_, err = f.Spec("s", Context{UserData: []byte(`{"password":"hunter2","number":8765309,"deep":{"list":["hunter2"]}}`), Environ: []string{"PASSWORD=hunter2"}})
	return err
}

// A short value is kept back as well, where a message would quote it.
func TestAShortValueIsNotQuoted(t *testing.T) {
	for data, want := range map[string]string{`{"s":"abc"}`: "got (userdata.s).", `{"s":0}`: "got (userdata.s).", `{"s":-1}`: "got (userdata.s).", `{"s":1.5}`: "got (userdata.s).", `{"s":"x y"}`: "got (userdata.s)."} {
		f, err := Parse("s.hcl", []byte("snapshotter \"s\" {\n  filter_tags = { a = \"b\" }\n  volume \"/dev/sdf\" {\n    mount_point = \"/data\"\n    size = userdata.s\n  }\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.Spec("s", Context{UserData: []byte(data)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", data, err, want)
		}
	}
}
