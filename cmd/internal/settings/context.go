package settings

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// An Instance is what expressions see as `instance`.
type Instance struct {
	ID               string
	Type             string
	Region           string
	AvailabilityZone string
	AccountID        string
	Tags             map[string]string
}

// A Context is what a snapshotter's expressions are evaluated with. All of it
// may be left empty as long as no expression asks for it.
type Context struct {
	// UserData is the raw JSON object. When nil, UserDataFunc is called, once
	// and only if an expression mentions userdata or filter_tags is not set.
	UserData     []byte
	UserDataFunc func() ([]byte, error)
	// UserDataFrom names the source in messages: "--userdata", "instance user data".
	UserDataFrom string

	// Instance is called once, and only if an expression mentions instance.
	Instance func() (Instance, error)

	// Environ is `env`, in the form of os.Environ, which is used when it is nil.
	Environ []string

	// LeadsTo, when set, says which folder a mount point leads to, or why nothing must be mounted there. Two volumes that
	// lead to one folder are a mistake, and volumes are ordered by where they lead to.
	LeadsTo func(mountPoint string) (string, error)

	// Lenient takes what is not given, userdata and instance, as unknown. A value that depends on it is not checked.
	Lenient bool

	// Warn, when set, is told once what was accepted but should be corrected.
	Warn func(*Error)
}

// scope makes the variables whose names are in used, each with the place
// that asks for it. An error that is not a diagnostic comes from the caller's
// own functions.
func (c Context) scope(used map[string]hcl.Range) (*hcl.EvalContext, userdata, hcl.Diagnostics, error) {
	scope := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: functions}
	for _, name := range []string{"userdata", "instance", "env"} {
		scope.Variables[name] = cty.DynamicVal // nothing mentions it: known by name, for suggestions
	}
	data := userdata{name: "userdata"}
	if c.UserDataFrom != "" {
		data.name += " (from " + c.UserDataFrom + ")"
	}
	if at, ok := used["userdata"]; ok && (!c.Lenient || c.UserData != nil) {
		raw, err := c.rawUserdata()
		if err != nil {
			return nil, data, nil, fmt.Errorf("cannot get userdata, which %s asks for: %w", place(at), err)
		}
		value, problem := parseUserdata(raw)
		if problem != "" {
			return nil, data, hcl.Diagnostics{mistake(at, "Invalid userdata", "%s is asked for here, and it %s", data.name, problem)}, nil
		}
		data.value = value
		scope.Variables["userdata"] = value
	}
	if c.Lenient && c.Instance == nil {
		scope.Variables["instance"] = unknownInstance()
	} else if at, ok := used["instance"]; ok {
		if c.Instance == nil {
			return nil, data, hcl.Diagnostics{mistake(at, "No instance", "instance is asked for here, and this command does not know the instance.")}, nil
		}
		instance, err := c.Instance()
		if err != nil {
			return nil, data, nil, fmt.Errorf("cannot describe the instance, which %s asks for: %w", place(at), err)
		}
		scope.Variables["instance"] = instance.value()
	}
	if _, ok := used["env"]; ok {
		scope.Variables["env"] = environValue(c.environ())
	}
	return scope, data, nil, nil
}

func (c Context) environ() []string {
	if c.Environ == nil {
		return os.Environ()
	}
	return c.Environ
}

func (c Context) rawUserdata() ([]byte, error) {
	if c.UserData != nil || c.UserDataFunc == nil {
		return c.UserData, nil
	}
	return c.UserDataFunc()
}

// mentionedIn collects the root names of all variables in body, and where
// each is first used. The iterators of dynamic blocks come along; nobody asks.
func mentionedIn(body hcl.Body, used map[string]hcl.Range) {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		return
	}
	for _, attr := range native.Attributes {
		mentionedBy(attr.Expr, used)
	}
	for _, block := range native.Blocks {
		mentionedIn(block.Body, used)
	}
}

func mentionedBy(expr hcl.Expression, used map[string]hcl.Range) {
	for _, path := range expr.Variables() {
		at := path.SourceRange()
		if first, seen := used[path.RootName()]; !seen || before(&at, &first) {
			used[path.RootName()] = at
		}
	}
}

// sets says whether body has the attribute.
func sets(body hcl.Body, name string) bool {
	native, ok := body.(*hclsyntax.Body)
	return ok && native.Attributes[name] != nil
}

func (i Instance) value() cty.Value {
	tags := cty.MapValEmpty(cty.String)
	if len(i.Tags) > 0 {
		values := map[string]cty.Value{}
		for key, value := range i.Tags {
			values[key] = cty.StringVal(value)
		}
		tags = cty.MapVal(values)
	}
	return cty.ObjectVal(map[string]cty.Value{
		"id":                cty.StringVal(i.ID),
		"type":              cty.StringVal(i.Type),
		"region":            cty.StringVal(i.Region),
		"availability_zone": cty.StringVal(i.AvailabilityZone),
		"account_id":        cty.StringVal(i.AccountID),
		"tags":              tags,
	})
}

// unknownInstance has the attributes of an instance, and no values.
func unknownInstance() cty.Value {
	attrs := Instance{}.value().AsValueMap()
	for name, value := range attrs {
		attrs[name] = cty.UnknownVal(value.Type())
	}
	return cty.ObjectVal(attrs)
}

func environValue(environ []string) cty.Value {
	values := map[string]cty.Value{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if ok && name != "" && utf8.ValidString(entry) {
			values[name] = cty.StringVal(value)
		}
	}
	return cty.ObjectVal(values)
}
