# Redis 7 with data and append-only files on one volume.
#
# It must be one volume: Redis writes its append-only files to dir and renames them
# into appenddirname, which fails across volumes ("Invalid cross-device link").
#
# With appendonly yes and appendfsync always, every acknowledged write is in the
# snapshot. With appendfsync everysec (the default) up to a second of writes may be
# missing, as after any crash. Snapshots need no hook: Redis truncates a partially
# written command at the next start. Userdata:
#
#   {"role": "redis", "cluster": "shop", "environment": "production"}

snapshotter "redis" {
  expire_after = "7d"

  # A cache may start empty. For a database, use "fail".
  on_missing = "create"

  volume "/dev/sdf" {
    mount_point = "/var/lib/redis"
    size        = 20
    file_system = "xfs"
  }

  hook "pre_mounts"  { command = ["systemctl", "stop", "redis-server"] }
  hook "post_mount"  { command = ["sh", "-c", "chown redis:redis \"$SNAPTASTIC_MOUNT_POINT\" && chmod 0750 \"$SNAPTASTIC_MOUNT_POINT\""] }
  hook "post_mounts" { command = ["systemctl", "start", "redis-server"] }

  hook "pre_unmounts" { command = ["systemctl", "stop", "redis-server"] }

  # `run verify` loads the restored data into a private server, which needs as much memory as the live one.
  verify {
    probe = ["/usr/share/doc/snaptastic/examples/probes/redis", "/var/lib/redis"]
    every = "8d"
  }
}
