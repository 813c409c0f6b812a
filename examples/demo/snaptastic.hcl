# One volume, for the demo. The mount point comes from the environment, so that
# the demo only uses its own directory.
snapshotter "solr" {
  filter_tags  = { role = "solr", environment = "demo" }
  expire_after = "7d"

  volume "/dev/sdf" {
    mount_point = "${env.DEMO}/mnt/solr"
    size        = 1
    file_system = "ext4"
  }
}
