# MySQL or MariaDB with InnoDB, data and redo log on volumes of their own.
#
# All tables are locked while the volumes are frozen, so that tables that are not
# InnoDB's are whole, too. A lock lasts as long as its client: the hook is held open.
#
# The volumes are xfs: MySQL takes the lost+found of an ext4 for a database. On ext4,
# put ignore_db_dirs=lost+found into my.cnf (MariaDB and MySQL 5.7; MySQL 8 has no
# such option).
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
    file_system   = "xfs"
    mount_options = "noatime"
    iops          = 6000
    throughput    = 500
    encrypted     = true
  }

  volume "/dev/sdg" {
    mount_point = "/var/lib/mysql-redo"
    size        = 20
    file_system = "xfs"
    encrypted   = true
  }

  hook "pre_mounts" { command = ["systemctl", "stop", "mysql"] }
  hook "post_mount" { command = ["sh", "-c", "chown mysql:mysql \"$SNAPTASTIC_MOUNT_POINT\""] }
  hook "post_mounts" { command = ["systemctl", "start", "mysql"] }

  # hold: it says "ready" when the lock is there, and its input ends after the thaw. Then cat ends,
  # and the tables are unlocked. The client itself waits, without a shell around it, and never
  # reconnects: when the server has ended its connection, and the lock with it, UNLOCK TABLES fails,
  # so does the hook, and the snapshots are deleted.
  #
  # While the lock waits for a long statement, everybody else's writes wait behind it. lock_wait_timeout
  # bounds that: after 5 s the hook fails and no snapshot is taken.
  #
  # root is known by the socket (unix_socket in MariaDB, auth_socket in MySQL): no password is needed.
  hook "pre_snapshots" {
    command = ["mysql", "--user=root", "--protocol=socket", "--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect", "--execute", <<-END
      SET SESSION lock_wait_timeout = 5;
      FLUSH TABLES WITH READ LOCK;
      SELECT 'ready';
      system cat >/dev/null
      UNLOCK TABLES;
      END
    ]
    hold    = true
    timeout = "1m"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "mysql"] }
}
