# The original's TestSnapshotter: EBSVolume(device='/dev/sdf9', mount_point='/mnt/test2', size=5).
# The filter tags are role, cluster and environment from the userdata, as before.

snapshotter "test" {
  volume "/dev/sdf" { # was /dev/sdf9: HVM instances only use the letter
    mount_point = "/mnt/test2"
    size        = 5
  }
}
