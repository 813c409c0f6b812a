package recipe

import (
	"errors"
	"fmt"
	"strconv"

	"snaptastic/steps"
	"snaptastic/steps/snapset"
)

// The flags of a snapshot that is a part of a larger set, one of many hosts.
var (
	PartOf      = Flag{"set", "", "the snapshots are a part of the larger set with this `id`, which has --members snapshots; needs --defer-label"}
	PartMembers = Flag{"members", "", "with --set: how many snapshots the larger set has in all, 1 to 1000 (`number`)"}
	DeferLabel  = Flag{"defer-label", false, "with --set: do not label the snapshots as restorable; `snaptastic label --set ID` does so for all of the set"}
)

// partOf is the larger set, which checkPart has seen; nil for none.
func partOf(o Options) *steps.Part {
	members, err := strconv.Atoi(o.Text(PartMembers))
	if o.Text(PartOf) == "" || err != nil {
		return nil
	}
	return &steps.Part{Set: o.Text(PartOf), Members: members}
}

// checkPart refuses what is said only in part.
func checkPart(s Spec, o Options) error {
	set, members := o.Text(PartOf), o.Text(PartMembers)
	if set == "" && members == "" && !o.Bool(DeferLabel) {
		return nil
	}
	if set == "" || members == "" || !o.Bool(DeferLabel) {
		return errors.New("--set, --members and --defer-label are used together")
	}
	if err := snapset.CheckLarger(set); err != nil {
		return fmt.Errorf("--set: %w", err)
	}
	n, err := strconv.Atoi(members)
	if err != nil || n < 1 || n > snapset.MaxLarger {
		return fmt.Errorf("--members %q: expected a number from 1 to %d", members, snapset.MaxLarger)
	}
	if n < len(s.Volumes) {
		return fmt.Errorf("--members %d: this snapshotter alone has %d volumes, so the set could never be labelled", n, len(s.Volumes))
	}
	if o.Bool(Clean) {
		return errors.New("--clean deletes what newer sets replace, and with --defer-label it is not known whether this one will: use `snaptastic clean snapshots` later")
	}
	return nil
}
