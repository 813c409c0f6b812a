// Package sandbox is a local EC2: an HTTP handler that speaks the EC2 Query
// protocol, IMDSv2 and a little STS, with one instance, whose volumes are
// sparse files attached as loop devices and whose snapshots are clones of those
// files.
//
// A Sandbox lives in a folder:
//
//	world.jsonl   every record, appended change by change (store.go)
//	worlds/       the folders of other accounts and regions (worlds.go)
//	lost/         a file for each region that was lost
//	lock          held for the length of each request (lock.go)
//	log.jsonl     one line per call (calls.go)
//	faults.json   optional: how to misbehave; reread when it changes (fault.go)
//	boot_id       changes with each Reboot
//	pool.xfs      only where the folder's file system cannot clone: an XFS image
//	vol/          volume and snapshot files (pool.go, disks.go)
//	dev/, sys/    what a Nitro instance would show of its volumes (devices.go)
//
// Several processes may share one folder: each request is a transaction under
// its lock. Nothing runs in the background: what takes time in EC2 is computed
// from recorded instants, so the package works under testing/synctest.
//
// It imports linux for loop devices and nothing else of this module. It checks
// no signatures and must never listen on anything but loopback.
package sandbox
