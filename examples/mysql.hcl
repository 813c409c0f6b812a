# MySQL or MariaDB with InnoDB, with separate volumes for data and redo log.
#
# All tables are locked while the volumes are frozen, so that non-InnoDB tables are
# consistent too. The lock lasts as long as its client, so the hook is held open.
#
# The volumes are xfs, because MySQL would treat the lost+found directory of ext4 as
# a database. On ext4, set ignore_db_dirs=lost+found in my.cnf (MariaDB and MySQL
# 5.7; MySQL 8 has no such option).
# Userdata:
#
#   {"role": "mysql", "cluster": "shop", "environment": "production"}

snapshotter "mysql" {
  expire_after = "2w"
  consistency  = "group"

  # Never start an empty database by accident.
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

  # hold: the hook prints "ready" when it has the lock. After the thaw its stdin reaches EOF, cat exits
  # and the tables are unlocked. The mysql client waits itself, without a shell around it, and never
  # reconnects: if the server closed the connection and so released the lock, UNLOCK TABLES fails,
  # the hook fails, and the snapshots are deleted.
  #
  # While the lock waits for a long statement, all other writes queue behind it. lock_wait_timeout
  # limits that: after 5 s the hook fails and no snapshot is taken.
  #
  # root authenticates by socket (unix_socket in MariaDB, auth_socket in MySQL), without a password.
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

  # `run verify` starts a private MariaDB on the restored volumes and runs CHECK TABLE and innochecksum.
  verify {
    probe = ["/usr/share/doc/snaptastic/examples/probes/mariadb", "/var/lib/mysql",
    "--innodb-log-group-home-dir=/var/lib/mysql-redo"]
    timeout = "4h"
    every   = "8d"
  }
}
