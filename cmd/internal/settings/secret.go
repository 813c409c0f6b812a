package settings

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Values of userdata and of environment variables often are secrets, and a
// message goes into logs: it names where a value came from instead.

// A secret is a text that no message may hold, and what stands in its place.
type secret struct{ text, name string }

// secretive are the variables of an expression whose values are not printed: all
// but instance. The iterators of dynamic blocks and loops have what userdata has.
func secretive(expr hcl.Expression) []hcl.Traversal {
	return slices.DeleteFunc(hcl.UnwrapExpression(expr).Variables(), func(path hcl.Traversal) bool { return path.RootName() == "instance" })
}

// secretsOf are the texts of the variables that expr mentions, and those that it
// makes of them.
func secretsOf(expr hcl.Expression, scope *hcl.EvalContext) (all []secret) {
	var names []string
	for _, path := range secretive(expr) {
		names = append(names, traversalText(path))
	}
	if names == nil {
		return nil
	}
	all = secretsIn(expr, scope)
	made, from := list(names, "and"), "made of "
	if traversal, is := unparenthesized(expr).(*hclsyntax.ScopeTraversalExpr); is {
		made, from = traversalText(traversal.Traversal), ""
	}
	if value, diags := expr.Value(scope); !diags.HasErrors() {
		all = append(all, leaves(value, from+made)...)
	}
	// A value that holds another one goes first.
	sort.SliceStable(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return len(b.text)-len(a.text) < 0
	})
	return all
}

// isSecret: the text comes from userdata or the environment. A loop's variable
// may have it from a list that the file spells out; then no value there has it.
func isSecret(expr hcl.Expression, text string, scope *hcl.EvalContext) bool {
	mentioned := secretive(expr)
	return slices.ContainsFunc(mentioned, direct) || len(mentioned) > 0 && comesFrom(text, scope)
}

// direct: the path begins at userdata or env, and not at a variable that may have
// something of them.
func direct(path hcl.Traversal) bool {
	return path.RootName() == "userdata" || path.RootName() == "env"
}

// comesFrom: a value of userdata or the environment is in the text.
func comesFrom(text string, scope *hcl.EvalContext) bool {
	for ; scope != nil; scope = scope.Parent() {
		for _, root := range []string{"userdata", "env"} {
			for _, s := range leaves(scope.Variables[root], root) {
				if s.text != "" && strings.Contains(strings.ToLower(text), strings.ToLower(s.text)) {
					return true
				}
			}
		}
	}
	return false
}

// secretsIn is secretsOf for an expression that has no value.
func secretsIn(expr hcl.Expression, scope *hcl.EvalContext) (all []secret) {
	for _, path := range secretive(expr) {
		if value, diags := path.TraverseAbs(scope); !diags.HasErrors() {
			found := leaves(value, traversalText(path))
			if !direct(path) {
				found = slices.DeleteFunc(found, func(s secret) bool { return !comesFrom(s.text, scope) })
			}
			all = append(all, found...)
		}
	}
	return all
}

func unparenthesized(expr hcl.Expression) hcl.Expression {
	expr = hcl.UnwrapExpression(expr)
	for {
		p, is := expr.(*hclsyntax.ParenthesesExpr)
		if !is {
			return expr
		}
		expr = hcl.UnwrapExpression(p.Expression)
	}
}

// leaves are the texts inside of a value. What a file spells out beside them is
// no secret, nor is a key.
func leaves(value cty.Value, name string) (out []secret) {
	if value == cty.NilVal {
		return nil
	}
	value, _ = value.Unmark()
	switch {
	case !value.IsKnown() || value.IsNull():
	case value.Type() == cty.String:
		out = []secret{{value.AsString(), name}}
	case value.Type() == cty.Number:
		out = []secret{{value.AsBigFloat().Text('g', 20), name}, {value.AsBigFloat().Text('f', -1), name}}
	case value.Type().IsObjectType():
		fields := value.AsValueMap()
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			in := name + "." + key
			if name == "env" {
				in = key
			}
			out = append(out, leaves(fields[key], in)...)
		}
	case value.CanIterateElements():
		for it := value.ElementIterator(); it.Next(); {
			_, element := it.Element()
			out = append(out, leaves(element, name)...)
		}
	}
	return out
}

// without takes secrets out of a message. A short one is one only where a message
// quotes what it got: elsewhere it is more likely a word of the message.
func without(text string, secrets []secret) string {
	for _, s := range secrets {
		name := "(" + s.name + ")"
		if s.text == "" {
			continue
		}
		if len(s.text) > 3 {
			text = strings.ReplaceAll(text, strconv.Quote(s.text), name)
			text = strings.ReplaceAll(text, s.text, name)
			continue
		}
		head, got, ok := strings.Cut(text, "; got ")
		if !ok {
			head, got, ok = "", text, strings.HasPrefix(text, "Cannot read ")
		} else {
			head += "; got "
		}
		if ok {
			for _, form := range []string{strconv.Quote(s.text), "the number " + s.text} {
				got = strings.Replace(got, form, name, 1)
			}
			if strings.TrimRight(got, ".") == s.text {
				got = name + "."
			}
			text = head + got
		}
	}
	return text
}

// discreet is a diagnostic about an expression without the values of its
// variables.
func discreet(diag *hcl.Diagnostic, expr hcl.Expression, scope *hcl.EvalContext) {
	if diag.Detail != "" {
		diag.Detail = without(diag.Detail, secretsOf(expr, scope))
	}
}
