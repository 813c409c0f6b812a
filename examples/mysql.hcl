# MySQL or MariaDB with InnoDB, data and redo log on volumes of their own.
#
# InnoDB recovers from any single moment, and "group" freezes both volumes at
# one. So nothing is locked; the flush only makes recovery short. Userdata:
#
#   {"role": "mysql", "cluster": "shop", "environment": "production"}

snapshotter "mysql" {
  expire_after = "2w"
  consistency  = "group"

  # A database that starts empty by accident is worse than one that does not start.
  on_missing = "fail"

  volume "/dev/sdf" {
    mount_point   = "/var/lib/mysql"
    size          = 500
    file_system   = "ext4"
    mount_options = "noatime"
    iops          = 6000
    throughput    = 500
    encrypted     = true
  }

  volume "/dev/sdg" {
    mount_point = "/var/lib/mysql-redo"
    size        = 20
    encrypted   = true
  }

  hook "pre_mounts" { command = ["systemctl", "stop", "mysql"] }
  hook "post_mount" { command = ["sh", "-c", "chown mysql:mysql \"$SNAPTASTIC_MOUNT_POINT\""] }
  hook "post_mounts" { command = ["systemctl", "start", "mysql"] }

  hook "pre_snapshots" {
    command    = ["mysql", "--defaults-file=/etc/mysql/debian.cnf", "-e", "FLUSH ENGINE LOGS"]
    timeout    = "2m"
    on_failure = "continue"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "mysql"] }
}
