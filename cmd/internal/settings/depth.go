package settings

import (
	"bytes"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The HCL parser and evaluator are recursive, and a Go program that overflows
// its stack dies without a word that an operator could use. So the tokens are
// counted before they are parsed.
const (
	maxDepth     = 64   // open brackets, braces and templates
	maxOperators = 2000 // operators of one expression, open outer ones included
	maxDigits    = 64   // of a number literal
	maxExponent  = 99
)

// checkDepth refuses text whose expressions are too deep to parse.
func checkDepth(name string, src []byte) hcl.Diagnostics {
	tokens, diags := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	if diags.HasErrors() {
		return diags
	}
	open := []int{0} // operators seen at each open level
	opener := []hclsyntax.TokenType{hclsyntax.TokenOBrace}
	total := 0
	reset := func() {
		total -= open[len(open)-1]
		open[len(open)-1] = 0
	}
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenTemplateControl:
			open[len(open)-1]++ // %{ if } … %{ endif } nest without brackets
			total++
			fallthrough
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp:
			open, opener = append(open, 0), append(opener, token.Type)
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			if len(open) > 1 {
				reset()
				open, opener = open[:len(open)-1], opener[:len(opener)-1]
			}
		case hclsyntax.TokenComma:
			reset()
		case hclsyntax.TokenNewline:
			// A newline ends an expression only between braces.
			if opener[len(opener)-1] == hclsyntax.TokenOBrace {
				reset()
			}
		case hclsyntax.TokenNumberLit:
			if !sensibleNumber(token.Bytes) {
				return hcl.Diagnostics{mistake(token.Range, "Invalid number",
					"A number here has at most %d digits and an exponent below %d.", maxDigits, maxExponent+1)}
			}
		case hclsyntax.TokenIdent, hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit,
			hclsyntax.TokenOQuote, hclsyntax.TokenCQuote, hclsyntax.TokenOHeredoc, hclsyntax.TokenCHeredoc,
			hclsyntax.TokenComment, hclsyntax.TokenEOF:
		default:
			open[len(open)-1]++
			total++
		}
		if len(open) > maxDepth || total > maxOperators {
			return hcl.Diagnostics{mistake(token.Range, "Expression too complex",
				"Expressions may be %d brackets deep and have %d operators.", maxDepth, maxOperators)}
		}
	}
	return nil
}

// sensibleNumber is false for a literal such as 1e999999999, which takes
// gigabytes once it is written out.
func sensibleNumber(literal []byte) bool {
	if len(literal) > maxDigits {
		return false
	}
	at := bytes.IndexAny(literal, "eE")
	if at < 0 {
		return true
	}
	exponent, err := strconv.Atoi(string(literal[at+1:]))
	return err == nil && exponent >= -maxExponent && exponent <= maxExponent
}
