# The original's TestSnapshotter: EBSVolume(device='/dev/sdf9', mount_point='/mnt/test2', size=5).
# Filter tags are role, cluster and environment of the userdata, as they were.

snapshotter "test" {
  volume "/dev/sdf" { # was /dev/sdf9: HVM instances know the letter alone
    mount_point = "/mnt/test2"
    size        = 5
  }
}
