package settings

import (
	"time"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/plan/units"
	"snaptastic/steps/recipe"
)

// The arguments of lock. Their limits are those of EC2: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html
var (
	lockModeAttr = oneOf("mode", []recipe.LockMode{recipe.Governance, recipe.Compliance}, "`\"governance\"`: whoever has the permission `ec2:UnlockSnapshot` can unlock the snapshots. `\"compliance\"`: nobody can, once `cool_off` is over")
	lockForAttr  = span("for", oneDay, 36500*oneDay, 0, "how long each snapshot is locked from its completion, in whole days: `\"1d\"` to `\"36500d\"`").shownAs(isRequired)
	coolOffAttr  = span("cool_off", time.Hour, 72*time.Hour, 0, "with `mode = \"compliance\"` only, and required there: for so long the lock can still be changed or removed, in whole hours, `\"1h\"` to `\"72h\"`").shownAs("none")
)

const oneDay = 24 * time.Hour

var lockShape = &shape{attrs: []argument{lockModeAttr, lockForAttr, coolOffAttr}}

// lock reads how new sets are locked.
func (r *reader) lock(blocks hcl.Blocks, expire *hcl.Attribute, spec *recipe.Spec) {
	for _, block := range blocks {
		content, diags := block.Body.Content(lockShape.schema())
		r.diags = append(r.diags, diags...)
		attrs := content.Attributes
		length, coolOff := lockForAttr.value(r, attrs), coolOffAttr.value(r, attrs)
		l := recipe.Lock{Mode: lockModeAttr.value(r, attrs), Days: int32(length / oneDay), CoolOff: int32(coolOff / time.Hour)}
		switch {
		case length%oneDay != 0:
			r.invalid(lockForAttr.in(attrs), "Expected whole days, such as \"14d\": EC2 locks snapshots for days.")
		case coolOff%time.Hour != 0:
			r.invalid(coolOffAttr.in(attrs), "Expected whole hours, such as \"24h\".")
		case l.Mode == recipe.Compliance && l.CoolOff == 0 && coolOffAttr.in(attrs) == nil:
			r.mistake(block.DefRange, "Missing cool_off", "mode = \"compliance\" needs cool_off, such as \"24h\": after that nobody can unlock or delete the snapshots until the lock expires, neither root nor AWS.")
		case l.Mode == recipe.Governance && coolOffAttr.in(attrs) != nil:
			r.invalid(coolOffAttr.in(attrs), "Only mode = \"compliance\" has a cool_off: a lock in governance mode can be removed at any time.")
		case spec.Keep == nil && expire != nil && spec.ExpireAfter > 0 && length > spec.ExpireAfter:
			r.invalid(lockForAttr.in(attrs), "The snapshots expire after %s and could not be deleted then: lock them for at most as long, or raise expire_after.", units.Limit(spec.ExpireAfter))
		}
		spec.Lock = &l
	}
}
