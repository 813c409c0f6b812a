# The original's PostgreSQLSnapshotter: fifteen volumes. PostgreSQL is stopped before
# they are mounted, and the ownership of its directory is set afterwards. Each numbered
# device got its own letter. Snapshots are found by mount point, so old ones still work.

snapshotter "postgres_example" {
  dynamic "volume" {
    for_each = [
      { device = "/dev/sdf", mount_point = "/var/lib/postgresql/9.1/main", size = 200 },                              # was /dev/sdf1
      { device = "/dev/sdg", mount_point = "/var/lib/postgresql/9.1/user_influence_history", size = 2 },              # /dev/sdf2
      { device = "/dev/sdh", mount_point = "/var/lib/postgresql/9.1/entity_love", size = 40 },                        # /dev/sdf3
      { device = "/dev/sdi", mount_point = "/var/lib/postgresql/9.1/user_profile", size = 10 },                       # /dev/sdf4
      { device = "/dev/sdj", mount_point = "/var/lib/postgresql/9.1/entity_love_history", size = 10 },                # /dev/sdf5
      { device = "/dev/sdk", mount_point = "/var/lib/postgresql/9.1/_user_profile_queue", size = 8 },                 # /dev/sdf6
      { device = "/dev/sdl", mount_point = "/var/lib/postgresql/9.1/entity_entity", size = 40 },                      # /dev/sdf7
      { device = "/dev/sdm", mount_point = "/var/lib/postgresql/9.1/event_framework_event_handler_queue", size = 2 }, # /dev/sdf8
      { device = "/dev/sdn", mount_point = "/var/lib/postgresql/9.1/user_communication_queue", size = 2 },            # /dev/sdf9
      { device = "/dev/sdo", mount_point = "/var/lib/postgresql/9.1/affiliate_click_tracking", size = 50 },           # /dev/sdi1
      { device = "/dev/sdp", mount_point = "/var/lib/postgresql/9.1/index01", size = 30 },                            # /dev/sdi2
      { device = "/dev/sdq", mount_point = "/var/lib/postgresql/9.1/index02", size = 30 },                            # /dev/sdi3
      { device = "/dev/sdr", mount_point = "/var/lib/postgresql/9.1/index03", size = 30 },                            # /dev/sdi4
      { device = "/dev/sds", mount_point = "/var/lib/postgresql/9.1/index04", size = 30 },                            # /dev/sdi5
      { device = "/dev/sdt", mount_point = "/var/lib/postgresql/9.1/index05", size = 30 },                            # /dev/sdi6
    ]
    labels = [volume.value.device]
    content {
      mount_point = volume.value.mount_point
      size        = volume.value.size
    }
  }

  hook "pre_mounts" { command = ["/etc/init.d/postgresql", "stop"] }

  # Two programs in one hook need a shell.
  hook "post_mounts" { command = ["sh", "-c", "chmod -R 0700 /var/lib/postgresql && chown -R postgres:postgres /var/lib/postgresql"] }
}
