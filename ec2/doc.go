// Package ec2 is the program's only way to Amazon EC2 and to the instance metadata service: the handful of calls that
// volumes and snapshots need, with EC2's manners built in.
//
//   - Every failure is a [Fault], which says what went wrong in words, which [Class] of failure it is, and what to do.
//   - Looks that arrive together share one DescribeVolumes or DescribeSnapshots, and a volume that was just seen is not
//     asked for again until something is changed.
//   - Waits share one poller: one describe a tick, however many volumes are waited for.
//   - Retries are adaptive and only for what is safe to repeat. The calls that make snapshots are sent once.
//
// It imports the AWS SDK and nothing of this program's own, and no SDK type leaves it. It never decides what ought to
// happen: it knows no plan, no step and no journal, and keeps no state on disk.
package ec2
