// Package ebs holds the limits that EBS sets for volumes, snapshots and tags, and the states that it shows them in. It imports
// nothing.
package ebs

// Type is what EBS lets a volume of one type be. Sizes and rates are those of
// the CreateVolume reference as the SDK documents them, gp3 as raised in 2025
// to 64 TiB, 80,000 IOPS and 2,000 MiB/s:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
// The ratios are on the pages of the types:
// https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
// https://docs.aws.amazon.com/ebs/latest/userguide/provisioned-iops.html
type Type struct {
	MinSize, MaxSize int64 // GiB
	MinIOPS, MaxIOPS int64 // 0: the type takes no iops
	NeedsIOPS        bool
	IOPSPerGiB       int64
	Throughput       bool  // takes throughput
	Pending          int64 // snapshots of one volume that may be pending at once
}

const (
	MinThroughput = 125 // MiB/s, gp3
	MaxThroughput = 2000
	// IOPSPerThroughput: gp3 gives a quarter of a MiB/s for each provisioned IOPS.
	IOPSPerThroughput = 4
	GP3BaseIOPS       = 3000

	// Provisioned rate for volume initialization, MiB/s:
	// https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
	MinInitialization = 100
	MaxInitialization = 300

	MaxDescription = 255 // characters: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshot.html
	MaxTagKey      = 128 // characters: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
	MaxTagValue    = 256 // characters
	MaxTags        = 50  // of one resource, without those whose key begins with aws:

	MaxFilters      = 50  // of one request
	MaxFilterValues = 200 // of one request, all its filters together

	// SnapshotSeconds is the shortest time between two snapshots of one volume.
	// Source: https://repost.aws/knowledge-center/ebs-snapshot-stuck
	SnapshotSeconds = 15
)

// TypeNames are the volume types, the default first.
var TypeNames = []string{"gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"}

// Types are the volume types by name. Pending snapshots:
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-creating-snapshot.html
var Types = map[string]Type{
	"gp3":      {MinSize: 1, MaxSize: 65536, MinIOPS: GP3BaseIOPS, MaxIOPS: 80000, IOPSPerGiB: 500, Throughput: true, Pending: 5},
	"gp2":      {MinSize: 1, MaxSize: 16384, Pending: 5},
	"io2":      {MinSize: 4, MaxSize: 65536, MinIOPS: 100, MaxIOPS: 256000, NeedsIOPS: true, IOPSPerGiB: 1000, Pending: 5},
	"io1":      {MinSize: 4, MaxSize: 16384, MinIOPS: 100, MaxIOPS: 64000, NeedsIOPS: true, IOPSPerGiB: 50, Pending: 5},
	"st1":      {MinSize: 125, MaxSize: 16384, Pending: 1},
	"sc1":      {MinSize: 125, MaxSize: 16384, Pending: 1},
	"standard": {MinSize: 1, MaxSize: 1024, Pending: 5},
}

// MostIOPS is how many IOPS a volume of the type and of so many GiB can have.
// What a type gives at the least it gives at any size.
func (t Type) MostIOPS(size int64) int64 {
	return min(t.MaxIOPS, max(t.IOPSPerGiB*size, t.MinIOPS))
}
