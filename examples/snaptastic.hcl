# The least that works: one volume, found again by two tags of your choosing.
#
#   snaptastic run mount data        a volume from the newest snapshot, or an empty one
#   snaptastic run snapshot data     a snapshot of it, file-system consistent
#   snaptastic run unmount data      unmounted and detached; the volume remains

snapshotter "data" {
  filter_tags = {
    role        = "example"
    environment = "test"
  }

  volume "/dev/sdf" {
    mount_point = "/mnt/data"
    size        = 5 # GiB
  }
}
