package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// explain rewrites what the HCL evaluator says where it does not name the
// remedy: a missing key is told with the keys that exist. It also takes away
// what must not be printed: the values of environment variables.
func explain(diag *hcl.Diagnostic) {
	if diag.Expression == nil || diag.EvalContext == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			if _, is := r.(exhausted); !is {
				panic(r)
			}
			diag.Detail, diag.Expression, diag.EvalContext = "", nil, nil
		}
	}()
	if b := budgetOf(diag.EvalContext); b != nil {
		b.start = cpuTime()
	}
	switch expr := hcl.UnwrapExpression(diag.Expression).(type) {
	case *hclsyntax.ScopeTraversalExpr:
		if diag.Summary == "Unknown variable" {
			explainVariable(diag, expr.Traversal.RootName())
		} else {
			explainKey(diag, expr.Traversal)
		}
	case *hclsyntax.IndexExpr:
		owner, ownerDiags := expr.Collection.Value(diag.EvalContext)
		key, keyDiags := expr.Key.Value(diag.EvalContext)
		if !ownerDiags.HasErrors() && !keyDiags.HasErrors() && key.Type() == cty.String && key.IsKnown() && !key.IsNull() && !isSecret(expr.Key, key.AsString(), diag.EvalContext) {
			missingKey(diag, owner, key.AsString(), "The value")
		}
	case *hclsyntax.RelativeTraversalExpr:
		owner, diags := expr.Source.Value(diag.EvalContext)
		if key, ok := stepKey(expr.Traversal[0]); ok && !diags.HasErrors() {
			missingKey(diag, owner, key, "The value")
		}
	}
	if len(secretive(diag.Expression)) > 0 {
		discreet(diag, diag.Expression, diag.EvalContext)
		diag.Expression, diag.EvalContext = nil, nil
	}
}

func explainVariable(diag *hcl.Diagnostic, name string) {
	if name == "volume" {
		diag.Detail = "volume is known in description only, and under a dynamic \"volume\" block as volume.value."
		return
	}
	known := map[string]bool{}
	for ctx := diag.EvalContext; ctx != nil; ctx = ctx.Parent() {
		for variable := range ctx.Variables {
			if variable != budgetName {
				known[variable] = true
			}
		}
	}
	detail := fmt.Sprintf("There is no variable named %q. Expressions here know %s.", name, list(sortedKeys(known), "and"))
	if near := Nearest(name, sortedKeys(known)); near != "" {
		detail += fmt.Sprintf(" Did you mean %q?", near)
	}
	diag.Detail = detail
}

// explainKey finds the first step of a path that leads nowhere.
func explainKey(diag *hcl.Diagnostic, path hcl.Traversal) {
	for n := 1; n < len(path); n++ {
		if _, diags := path[:n+1].TraverseAbs(diag.EvalContext); !diags.HasErrors() {
			continue
		}
		owner, diags := path[:n].TraverseAbs(diag.EvalContext)
		key, ok := stepKey(path[n])
		switch {
		case !ok || diags.HasErrors():
		case path.RootName() == "env":
			diag.Detail = fmt.Sprintf("The environment variable %s is not set.", key)
		default:
			missingKey(diag, owner, key, traversalText(path[:n])+turnOf(path, diag.EvalContext))
		}
		return
	}
}

// missingKey names the keys that owner has in the place of the missing one.
func missingKey(diag *hcl.Diagnostic, owner cty.Value, key, ownerName string) {
	if owner.IsNull() || !owner.IsKnown() {
		return
	}
	keys, ok := keysOf(owner)
	if !ok || slices.Contains(keys, key) {
		return
	}
	diag.Detail = fmt.Sprintf("%s has no key %q. It has %s.", ownerName, shortened(key), list(quoted(keys), "and"))
	if near := Nearest(key, keys); near != "" {
		diag.Detail += fmt.Sprintf(" Did you mean %q?", near)
	}
}

// stepKey is the text key that a step of a path asks for.
func stepKey(step hcl.Traverser) (string, bool) {
	switch step := step.(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}

// turnOf says which element of a dynamic block's list a path begins at, if it
// does so at one.
func turnOf(path hcl.Traversal, ctx *hcl.EvalContext) string {
	if value, ok := path[1].(hcl.TraverseAttr); !ok || value.Name != "value" {
		return ""
	}
	key, diags := hcl.Traversal{path[0], hcl.TraverseAttr{Name: "key"}}.TraverseAbs(ctx)
	if diags.HasErrors() || key.IsNull() || !key.IsKnown() {
		return ""
	}
	switch key.Type() {
	case cty.Number:
		return fmt.Sprintf(" (element %s, counted from 0)", key.AsBigFloat().Text('g', 10))
	case cty.String:
		return fmt.Sprintf(" (element %q)", key.AsString())
	}
	return ""
}

// maxKeys bounds how many keys of an object a message lists.
const maxKeys = 30

func keysOf(value cty.Value) ([]string, bool) {
	var keys []string
	switch ty := value.Type(); {
	case ty.IsObjectType():
		keys = sortedKeys(ty.AttributeTypes())
	case ty.IsMapType():
		keys = sortedKeys(value.AsValueMap())
	default:
		return nil, false
	}
	if len(keys) > maxKeys {
		keys = keys[:maxKeys]
	}
	for i, key := range keys {
		keys[i] = shortened(key)
	}
	return keys, true
}

// shortened is a key as a message shows it.
func shortened(key string) string {
	if short := firstRunes(key, maxWord); short != key {
		return short + "…"
	}
	return key
}

func traversalText(path hcl.Traversal) string {
	var text strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			text.WriteString(step.Name)
		case hcl.TraverseAttr:
			text.WriteString("." + step.Name)
		case hcl.TraverseIndex:
			if step.Key.Type() == cty.Number {
				fmt.Fprintf(&text, "[%s]", step.Key.AsBigFloat().Text('g', 10))
			} else if step.Key.Type() == cty.String {
				fmt.Fprintf(&text, "[%q]", step.Key.AsString())
			}
		}
	}
	return text.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
