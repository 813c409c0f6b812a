# An application that keeps its data in SQLite.
#
# Snapshots need no hook: the file system is frozen, and SQLite rolls back or replays what was under way when the
# database is opened. Keep the -wal and -journal files on the volume of their database. Userdata:
#
#   {"role": "app", "cluster": "shop", "environment": "production"}

snapshotter "sqlite" {
  expire_after = "7d"

  # Never start with an empty folder by accident.
  on_missing = "fail"

  volume "/dev/sdf" {
    mount_point = "/var/lib/app"
    size        = 20
  }

  hook "pre_mounts"  { command = ["systemctl", "stop", "app"] }
  hook "post_mounts" { command = ["systemctl", "start", "app"] }

  # `run verify` runs PRAGMA integrity_check on every database below the mount point.
  verify {
    probe = ["/usr/share/doc/snaptastic/examples/probes/sqlite", "/var/lib/app"]
    every = "8d"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "app"] }
}
