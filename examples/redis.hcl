# Redis 7 with its data and its append-only files on one volume.
#
# It has to be one: Redis writes its append-only files in dir and renames them into
# appenddirname, which fails between volumes ("Invalid cross-device link").
#
# With appendonly yes and appendfsync always every write that was answered is in
# the snapshot; with appendfsync everysec (Redis's default) up to a second of them
# may be missing, as after any crash. No hook is needed around a snapshot: a
# command that was half written is cut off at the next start. Userdata:
#
#   {"role": "redis", "cluster": "shop", "environment": "production"}

snapshotter "redis" {
  expire_after = "7d"

  # A cache may start empty; for a database say "fail".
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
}
