# A Solr index. Without filter_tags its snapshots are told apart by role,
# cluster and environment of the instance's userdata:
#
#   {"role": "solr", "cluster": "products", "environment": "production"}

snapshotter "solr" {
  expire_after = "7d"

  volume "/dev/sdf" {
    mount_point   = "/mnt/index"
    size          = 200
    mount_options = "noatime"
  }

  # Lucene's segments are written once and the file system is frozen for the
  # snapshot, so Solr keeps running. A commit before it saves replaying the
  # transaction log after a restore; without it the snapshot is as good.
  hook "pre_snapshots" {
    command    = ["curl", "--silent", "--show-error", "--fail", "http://localhost:8983/solr/products/update?commit=true"]
    timeout    = "2m"
    on_failure = "continue"
  }

  hook "pre_mounts"    { command = ["systemctl", "stop", "solr"] }
  hook "post_mount" {
    command = ["chown", "-R", "solr:solr", "/mnt/index"]
    when    = "changed" # not over a running Solr
  }
  hook "post_mounts"   { command = ["systemctl", "start", "solr"] }
  hook "pre_unmounts"  { command = ["systemctl", "stop", "solr"] }
}
