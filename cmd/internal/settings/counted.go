package settings

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// counted is an expression whose values are charged to the budget.
type counted struct {
	hclsyntax.Expression
	fresh bool // it makes values, and does not only name them
	most  int  // elements that its value may have; 0 for any number

	forEach, label bool // of a dynamic block
}

// unknownLabel stands for the label of a dynamic block that is not known.
const unknownLabel = " unknown"

func (c *counted) Value(scope *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	b := budgetOf(scope)
	if b == nil {
		return c.Expression.Value(scope)
	}
	at := c.Range()
	b.at.Store(&at)
	value, diags := c.Expression.Value(scope)
	b.spend(at, value, c.fresh)
	if c.most > 0 && value.IsKnown() && !value.IsNull() && !value.IsMarked() && value.CanIterateElements() && value.LengthInt() > c.most {
		b.fail(at, "Expected at most %d elements; got %d.", c.most, value.LengthInt())
	}
	if b.lenient && !diags.HasErrors() && !value.IsKnown() { // what is in the block is looked at all the same, once
		switch {
		case c.forEach:
			return cty.TupleVal([]cty.Value{cty.DynamicVal}), diags
		case c.label:
			return cty.StringVal(unknownLabel), diags
		}
	}
	return value, diags
}

// UnwrapExpression lets HCL look at what an expression is without evaluating it.
func (c *counted) UnwrapExpression() hcl.Expression { return c.Expression }

// countBody makes every expression of a body counted.
func countBody(body *hclsyntax.Body) {
	for _, attr := range body.Attributes {
		attr.Expr = count(attr.Expr)
	}
	for _, block := range body.Blocks {
		countBody(block.Body)
		if block.Type != "dynamic" {
			continue
		}
		if attr := block.Body.Attributes["for_each"]; attr != nil {
			attr.Expr = &counted{Expression: attr.Expr, most: maxBlocks, forEach: true}
		}
		if attr := block.Body.Attributes["labels"]; attr != nil {
			if labels, is := hcl.UnwrapExpression(attr.Expr).(*hclsyntax.TupleConsExpr); is {
				for i := range labels.Exprs {
					labels.Exprs[i] = &counted{Expression: labels.Exprs[i], label: true}
				}
			}
		}
	}
}

func countAll(all []hclsyntax.Expression) {
	for i := range all {
		all[i] = count(all[i])
	}
}

// count wraps an expression and all that is inside of it. HCL tells variables by
// the type of their expression, so one that is wrapped stands in parentheses.
func count(expr hclsyntax.Expression) hclsyntax.Expression {
	switch e := expr.(type) {
	case nil:
		return nil
	case *hclsyntax.LiteralValueExpr, *hclsyntax.AnonSymbolExpr:
		return expr
	case *hclsyntax.ScopeTraversalExpr:
		return &counted{Expression: &hclsyntax.ParenthesesExpr{Expression: e, SrcRange: e.SrcRange}}
	case *hclsyntax.RelativeTraversalExpr:
		e.Source = count(e.Source)
		return &counted{Expression: expr}
	case *hclsyntax.IndexExpr:
		e.Collection, e.Key = count(e.Collection), count(e.Key)
		return &counted{Expression: expr}
	case *hclsyntax.ParenthesesExpr:
		e.Expression = count(e.Expression)
		return expr
	case *hclsyntax.ObjectConsKeyExpr: // its bare words are no variables
		if _, word := e.Wrapped.(*hclsyntax.ScopeTraversalExpr); !word || e.ForceNonLiteral {
			e.Wrapped = count(e.Wrapped)
		}
		return expr
	case *hclsyntax.TemplateWrapExpr:
		e.Wrapped = count(e.Wrapped)
		return expr
	case *hclsyntax.TemplateExpr:
		countAll(e.Parts)
	case *hclsyntax.TemplateJoinExpr:
		e.Tuple = count(e.Tuple)
	case *hclsyntax.FunctionCallExpr:
		countAll(e.Args)
		if e.Name == "distinct" {
			for i := range e.Args {
				e.Args[i] = &counted{Expression: e.Args[i], most: maxDistinct}
			}
		}
	case *hclsyntax.ConditionalExpr:
		e.Condition, e.TrueResult, e.FalseResult = count(e.Condition), count(e.TrueResult), count(e.FalseResult)
	case *hclsyntax.BinaryOpExpr:
		e.LHS, e.RHS = count(e.LHS), count(e.RHS)
	case *hclsyntax.UnaryOpExpr:
		e.Val = count(e.Val)
	case *hclsyntax.ForExpr:
		e.CollExpr, e.KeyExpr, e.ValExpr, e.CondExpr = count(e.CollExpr), count(e.KeyExpr), count(e.ValExpr), count(e.CondExpr)
	case *hclsyntax.SplatExpr:
		e.Source, e.Each = count(e.Source), count(e.Each)
	case *hclsyntax.TupleConsExpr:
		countAll(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for i := range e.Items {
			e.Items[i].KeyExpr, e.Items[i].ValueExpr = count(e.Items[i].KeyExpr), count(e.Items[i].ValueExpr)
		}
	}
	return &counted{Expression: expr, fresh: true}
}
