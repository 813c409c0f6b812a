# MySQL or MariaDB with InnoDB, data and redo log on volumes of their own.
#
# All tables are locked while the volumes are frozen, so that tables that are not
# InnoDB's are whole, too. A lock lasts as long as its client: the hook is held open.
# Userdata:
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

  # hold: it says "ready" when the lock is there, and its input ends after the thaw.
  # Then cat ends, and the tables are unlocked. Should all this die, the lock goes with its client.
  hook "pre_snapshots" {
    command = ["sh", "-c", <<-END
      { echo "FLUSH TABLES WITH READ LOCK; SELECT 'ready';"; cat >/dev/null; echo "UNLOCK TABLES;"; } |
        mysql --defaults-file=/etc/mysql/debian.cnf --batch --skip-column-names --unbuffered
      END
    ]
    hold    = true
    timeout = "2m" # for the lock to be had
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "mysql"] }
}
