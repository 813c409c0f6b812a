// Package ec2 is the client of Amazon EC2 and of the instance metadata service: the calls that volumes and snapshots
// need, with EC2's eventual consistency, throttling and retries handled inside.
//
//   - Every failure is a [Fault] with a message, a [Class] and a hint.
//   - Concurrent describes are merged into one call, and a volume that was described within the last second is served from a cache until something changes.
//   - All waits share one poller: one describe per poll, however many volumes are waited for.
//   - Only what is safe to repeat is retried. The calls that make snapshots are sent once.
//
// It imports the AWS SDK and nothing of this module, and exposes no SDK type. It makes no policy decisions, knows no
// plan, step or journal, and keeps no state on disk.
package ec2
