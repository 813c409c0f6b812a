# PostgreSQL with a volume for each tablespace. Which volumes there are comes
# from the instance's userdata; postgres.userdata.json has fifteen.
#
#   snaptastic run mount postgres --settings postgres.hcl --userdata @postgres.userdata.json

# Declare every volume of the cluster: data, write-ahead log (pg_wal) and each
# tablespace. One that is left out is not frozen with the others and not restored
# with them: after a restore PostgreSQL finds it empty, or of another moment. It
# may start all the same, and then has tables that cannot be read or rows and
# index entries that contradict each other. `run unmount` does not look at it
# either. This lists them:
#
#   SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace;

snapshotter "postgres" {
  filter_tags  = { group = userdata.group }
  description  = "${userdata.cluster} snapshot of ${volume.mount_point}"
  expire_after = "7d"

  # All volumes are frozen at one moment: tablespaces, data and write-ahead log
  # are of one point in time, which is what PostgreSQL needs to recover.
  consistency = "group"

  dynamic "volume" {
    for_each = userdata.volumes
    labels   = [volume.value.device]
    content {
      mount_point = volume.value.mount_point
      size        = volume.value.size
      # What a volume does not say is left at its default.
      volume_type = try(volume.value.volume_type, null)
      iops        = try(volume.value.iops, null)
    }
  }

  # These run only when something is mounted: a mount that has nothing to do restarts nothing.
  hook "pre_mounts" { command = ["systemctl", "stop", "postgresql"] }

  # PostgreSQL starts on a folder of its own alone.
  hook "post_mount" {
    command = ["sh", "-c", "chown -R postgres:postgres \"$SNAPTASTIC_MOUNT_POINT\" && chmod 0700 \"$SNAPTASTIC_MOUNT_POINT\""]
    when    = "changed" # not over a running database
  }
  hook "post_mounts" { command = ["systemctl", "start", "postgresql"] }

  # A checkpoint before the freeze makes recovery after a restore short.
  hook "pre_snapshots" {
    command    = ["runuser", "-u", "postgres", "--", "psql", "-c", "CHECKPOINT"]
    timeout    = "10m"
    on_failure = "continue"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "postgresql"] }
}
