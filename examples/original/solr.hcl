# The original's SOLRSnapshotter: EBSVolume('/dev/sdf1', '/mnt/index', size=200).

snapshotter "solr_example" {
  volume "/dev/sdf" { # was /dev/sdf1
    mount_point = "/mnt/index"
    size        = 200
  }
}
