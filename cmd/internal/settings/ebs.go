package settings

import "fmt"

// An ebsType is what EBS lets a volume of one type be. Sizes and rates are
// those of the CreateVolume reference as the SDK documents them, gp3 as raised
// in 2025 to 64 TiB, 80,000 IOPS and 2,000 MiB/s:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
// The ratios are on the pages of the types:
// https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
// https://docs.aws.amazon.com/ebs/latest/userguide/provisioned-iops.html
type ebsType struct {
	minSize, maxSize int64 // GiB
	minIOPS, maxIOPS int64 // 0: the type takes no iops
	needsIOPS        bool
	iopsPerGiB       int64
	throughput       bool // takes throughput
}

const (
	maxSize       = 65536 // GiB, of any type
	minThroughput = 125   // MiB/s, gp3
	maxThroughput = 2000
	// gp3 gives a quarter of a MiB/s for each provisioned IOPS.
	iopsPerThroughput = 4
	gp3BaseIOPS       = 3000

	// Provisioned rate for volume initialization, MiB/s:
	// https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
	minInitialization = 100
	maxInitialization = 300
)

// ebsTypeNames are the volume types, the default first.
var ebsTypeNames = []string{"gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"}

var ebsTypes = map[string]ebsType{
	"gp3":      {minSize: 1, maxSize: 65536, minIOPS: gp3BaseIOPS, maxIOPS: 80000, iopsPerGiB: 500, throughput: true},
	"gp2":      {minSize: 1, maxSize: 16384},
	"io2":      {minSize: 4, maxSize: 65536, minIOPS: 100, maxIOPS: 256000, needsIOPS: true, iopsPerGiB: 1000},
	"io1":      {minSize: 4, maxSize: 16384, minIOPS: 100, maxIOPS: 64000, needsIOPS: true, iopsPerGiB: 50},
	"st1":      {minSize: 125, maxSize: 16384},
	"sc1":      {minSize: 125, maxSize: 16384},
	"standard": {minSize: 1, maxSize: 1024},
}

// iopsProblem says why a volume of this type and size cannot have so many
// IOPS, "" if it can.
func (t ebsType) iopsProblem(name string, iops, size int64) string {
	switch {
	case t.maxIOPS == 0:
		return fmt.Sprintf("A volume of type %s takes no iops; gp3, io1 and io2 do.", name)
	case iops < t.minIOPS || iops > t.maxIOPS:
		return fmt.Sprintf("A volume of type %s takes %d to %d IOPS; got %d.", name, t.minIOPS, t.maxIOPS, iops)
	case iops > max(t.iopsPerGiB*size, t.minIOPS):
		return fmt.Sprintf("A volume of type %s takes up to %d IOPS for each GiB: with %d GiB at most %d; got %d.",
			name, t.iopsPerGiB, size, max(t.iopsPerGiB*size, t.minIOPS), iops)
	}
	return ""
}

// throughputProblem says why a volume of this type cannot have this
// throughput (MiB/s) beside its iops (0: the type's base), "" if it can.
func (t ebsType) throughputProblem(name string, throughput, iops int64) string {
	if iops == 0 {
		iops = gp3BaseIOPS
	}
	switch {
	case !t.throughput:
		return fmt.Sprintf("A volume of type %s takes no throughput; only gp3 does.", name)
	case throughput < minThroughput || throughput > maxThroughput:
		return fmt.Sprintf("A volume of type %s takes %d to %d MiB/s; got %d.", name, minThroughput, maxThroughput, throughput)
	case throughput*iopsPerThroughput > iops:
		return fmt.Sprintf("A volume of type %s gives 1 MiB/s for each %d IOPS: with %d IOPS at most %d MiB/s; got %d. Raise iops to %d.",
			name, iopsPerThroughput, iops, iops/iopsPerThroughput, throughput, throughput*iopsPerThroughput)
	}
	return ""
}
