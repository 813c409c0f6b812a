# The original's MySnapshotter: [EBSVolume('/dev/sdf1', '/mnt/index', size=200)].

snapshotter "simple_example" {
  volume "/dev/sdf" { # was /dev/sdf1
    mount_point = "/mnt/index"
    size        = 200
  }
}
