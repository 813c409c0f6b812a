# The original's CustomFilterSnapshotter: get_filter_tags() returned only the cluster
# from the userdata (in the README: the group). It had the default volume.

snapshotter "filter_example" {
  filter_tags = { cluster = userdata.cluster } # mount_point is always added

  volume "/dev/sdf" {
    mount_point = "/mnt/test"
    size        = 5
  }
}
