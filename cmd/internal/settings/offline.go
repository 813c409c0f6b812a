package settings

import "github.com/zclconf/go-cty/cty"

// Offline says whether a mount of the snapshotter may take what it had mounted before when EC2 does not answer. It is asked
// when neither userdata nor instance are known: an expression that needs them does not allow it.
func (f *File) Offline(name string) bool {
	block, err := f.find(name)
	if err != nil {
		return false
	}
	content, _, _ := block.Body.PartialContent(snapshotterShape.schema())
	if content == nil || offlineAttr.in(content.Attributes) == nil {
		return content != nil
	}
	v, diags := offlineAttr.in(content.Attributes).Expr.Value(nil)
	return !diags.HasErrors() && v.IsWhollyKnown() && !v.IsNull() && v.Type() == cty.String && v.AsString() == offlineAttr.otherwise
}
