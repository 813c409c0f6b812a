package steps

import (
	"fmt"
	"strings"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
)

// snaps reads labelled snapshots from lines such as "5 a R1/3 archive": minutes after noon, mount point /mnt/a, run R1 whose
// set has three members, and the tier, standard where nothing is said. The id is snap- with the number of the line.
func snaps(lines ...string) (all []ec2.Snapshot) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, line := range lines {
		words := append(strings.Fields(line), "standard")
		minutes, err := time.ParseDuration(words[0] + "m")
		if err != nil {
			panic(err)
		}
		run, members, _ := strings.Cut(words[2], "/")
		all = append(all, ec2.Snapshot{ID: fmt.Sprintf("snap-%d", i+1), VolumeSize: 20, Started: noon.Add(minutes), State: "completed", StorageTier: ebs.StorageTier(words[3]),
			Tags: map[string]string{TagMountPoint: "/mnt/" + words[1], TagRun: run, TagToken: "token-" + run, TagMembers: members, TagState: Consistent}})
	}
	return all
}
