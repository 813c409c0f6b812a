# The original's CustomFilterSnapshotter: get_filter_tags() returned the userdata's
# cluster alone (the README's, its group). It had the default volume.

snapshotter "filter_example" {
  filter_tags = { cluster = userdata.cluster } # mount_point is always added

  volume "/dev/sdf" {
    mount_point = "/mnt/test"
    size        = 5
  }
}
