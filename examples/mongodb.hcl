# MongoDB with data and journal on one volume each.
#
# fsyncLock makes mongod hold its writes until fsyncUnlock, which the post hook
# sends whatever became of the snapshot. With the journal on the same set of
# volumes the lock is not needed for a sound snapshot; it is here to show the
# pair. Userdata:
#
#   {"role": "mongodb", "cluster": "events", "environment": "production"}

snapshotter "mongodb" {
  expire_after = "7d"

  volume "/dev/sdf" {
    mount_point = "/var/lib/mongodb"
    size        = 300
    throughput  = 250
  }

  volume "/dev/sdg" {
    mount_point = "/var/lib/mongodb/journal" # mounted after its parent, unmounted before it
    size        = 20
  }

  hook "pre_mounts"  { command = ["systemctl", "stop", "mongod"] }
  hook "post_mount"  { command = ["sh", "-c", "chown mongodb:mongodb \"$SNAPTASTIC_MOUNT_POINT\""] }
  hook "post_mounts" { command = ["systemctl", "start", "mongod"] }

  hook "pre_snapshots" {
    command = ["mongosh", "--quiet", "--eval", "db.fsyncLock()"]
    timeout = "1m"
  }
  hook "post_snapshots" { # "always", as all post hooks of snapshots are
    command = ["mongosh", "--quiet", "--eval", "db.fsyncUnlock()"]
    timeout = "1m"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "mongod"] }
}
