# Minimal settings: one volume, identified by two tags of your choice.
#
#   snaptastic run mount data        restore the newest snapshot, or create an empty volume
#   snaptastic run snapshot data     take a file-system-consistent snapshot
#   snaptastic run unmount data      unmount and detach the volume; it is not deleted

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
