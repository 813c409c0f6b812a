package settings

import (
	"fmt"

	"snaptastic/ec2/ebs"
)

// iopsProblem says why a volume of this type and size cannot have so many
// IOPS, "" if it can.
func iopsProblem(t ebs.Type, name string, iops, size int64) string {
	switch {
	case t.MaxIOPS == 0:
		return fmt.Sprintf("A volume of type %s takes no iops; gp3, io1 and io2 do.", name)
	case iops < t.MinIOPS || iops > t.MaxIOPS:
		return fmt.Sprintf("A volume of type %s takes %d to %d IOPS; got %d.", name, t.MinIOPS, t.MaxIOPS, iops)
	case iops > t.MostIOPS(size):
		return fmt.Sprintf("A volume of type %s takes up to %d IOPS for each GiB: with %d GiB at most %d; got %d.",
			name, t.IOPSPerGiB, size, t.MostIOPS(size), iops)
	}
	return ""
}

// throughputProblem says why a volume of this type cannot have this
// throughput (MiB/s) beside its iops (0: the type's base), "" if it can.
func throughputProblem(t ebs.Type, name string, throughput, iops int64) string {
	if iops == 0 {
		iops = ebs.GP3BaseIOPS
	}
	switch {
	case !t.Throughput:
		return fmt.Sprintf("A volume of type %s takes no throughput; only gp3 does.", name)
	case throughput < ebs.MinThroughput || throughput > ebs.MaxThroughput:
		return fmt.Sprintf("A volume of type %s takes %d to %d MiB/s; got %d.", name, ebs.MinThroughput, ebs.MaxThroughput, throughput)
	case throughput*ebs.IOPSPerThroughput > iops:
		return fmt.Sprintf("A volume of type %s gives 1 MiB/s for each %d IOPS: with %d IOPS at most %d MiB/s; got %d. Raise iops to %d.",
			name, ebs.IOPSPerThroughput, iops, iops/ebs.IOPSPerThroughput, throughput, throughput*ebs.IOPSPerThroughput)
	}
	return ""
}
