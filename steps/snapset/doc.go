// Package snapset knows what a snapshot is to a snapshotter: who made it, how old its data is, which snapshots are a set,
// which of them a mount takes, whether a volume is covered, and what a clean-up must keep.
//
// All of it is pure: functions from what EC2 shows to a judgement, without a clock, without I/O. It imports the plain
// types of ec2 and nothing else of ours. Every command that looks at snapshots asks here, so that none of them believes
// what another does not.
package snapset
