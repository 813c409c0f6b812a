# MongoDB with separate volumes for data and journal.
#
# fsyncLock blocks writes in mongod until fsyncUnlock. The post hook unlocks even
# if the snapshot failed. The lock is optional here: data and journal are in one
# set, so the snapshot is consistent without it. Userdata:
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
  hook "post_snapshots" { # runs "always", the default for post hooks of snapshots
    command = ["mongosh", "--quiet", "--eval", "db.fsyncUnlock()"]
    timeout = "1m"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "mongod"] }
}
