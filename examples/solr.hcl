# A Solr index. Without filter_tags, its snapshots are identified by role,
# cluster and environment from the instance's userdata:
#
#   {"role": "solr", "cluster": "products", "environment": "production"}

snapshotter "solr" {
  expire_after = "7d"

  volume "/dev/sdf" {
    mount_point   = "/mnt/index"
    size          = 200
    mount_options = "noatime"
  }

  # Solr keeps running: Lucene segments are immutable and the file system is frozen
  # for the snapshot. The commit is optional; it avoids replaying the transaction
  # log after a restore.
  hook "pre_snapshots" {
    command    = ["curl", "--silent", "--show-error", "--fail", "http://localhost:8983/solr/products/update?commit=true"]
    timeout    = "2m"
    on_failure = "continue"
  }

  hook "pre_mounts"    { command = ["systemctl", "stop", "solr"] }
  hook "post_mount" {
    command = ["chown", "-R", "solr:solr", "/mnt/index"]
    when    = "changed" # not while Solr is running
  }
  hook "post_mounts"   { command = ["systemctl", "start", "solr"] }
  hook "pre_unmounts"  { command = ["systemctl", "stop", "solr"] }
}
