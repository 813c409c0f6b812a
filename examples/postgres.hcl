# PostgreSQL with one volume per tablespace. The volumes are listed in the
# instance's userdata; postgres.userdata.json has fifteen.
#
#   snaptastic run mount postgres --settings postgres.hcl --userdata @postgres.userdata.json

# Declare every volume of the cluster: data, write-ahead log (pg_wal) and each
# tablespace. A volume that is missing here is not frozen with the others and not
# restored with them. After a restore it is empty or from another moment.
# PostgreSQL may start anyway, with unreadable tables or with rows and index
# entries that contradict each other. `run unmount` does not check that volume
# either. To list the tablespaces:
#
#   SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace;

snapshotter "postgres" {
  filter_tags  = { group = userdata.group }
  description  = "${userdata.cluster} snapshot of ${volume.mount_point}"
  expire_after = "7d"

  # All volumes are frozen at the same moment: PostgreSQL needs tablespaces, data
  # and write-ahead log from one point in time to recover.
  consistency = "group"

  dynamic "volume" {
    for_each = userdata.volumes
    labels   = [volume.value.device]
    content {
      mount_point = volume.value.mount_point
      size        = volume.value.size
      # null means the default.
      volume_type = try(volume.value.volume_type, null)
      iops        = try(volume.value.iops, null)
    }
  }

  # Runs only if something is mounted: a mount with nothing to do does not stop the database.
  hook "pre_mounts" { command = ["systemctl", "stop", "postgresql"] }

  # PostgreSQL only starts on a directory that it owns. A snapshot has the lock file of the server that was running: it is
  # stopped here, and its process id may be another process's by now.
  hook "post_mount" {
    command = ["sh", "-c", "chown -R postgres:postgres \"$SNAPTASTIC_MOUNT_POINT\" && chmod 0700 \"$SNAPTASTIC_MOUNT_POINT\" && rm -f \"$SNAPTASTIC_MOUNT_POINT/postmaster.pid\""]
    when    = "changed" # not while the database is running
  }
  hook "post_mounts" { command = ["systemctl", "start", "postgresql"] }

  # A checkpoint before the freeze shortens recovery after a restore.
  hook "pre_snapshots" {
    command    = ["runuser", "-u", "postgres", "--", "psql", "-c", "CHECKPOINT"]
    timeout    = "10m"
    on_failure = "continue"
  }

  hook "pre_unmounts" { command = ["systemctl", "stop", "postgresql"] }

  # `run verify` starts a private server on the restored volumes and checks it with pg_amcheck. The first volume of the
  # userdata is the data directory.
  verify {
    probe   = ["/usr/share/doc/snaptastic/examples/probes/postgresql", userdata.volumes[0].mount_point]
    timeout = "4h"
    every   = "8d"
  }
}
