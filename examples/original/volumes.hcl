# The three volume objects in the original's README: a plain one, one with
# iops=1600 and no type (which meant io1), and one with FILESYSTEMS.EXT4.

snapshotter "volumes_example" {
  volume "/dev/sdf" { # EBSVolume('/dev/sdf1', '/var/lib/postgresql/9.1/main', 200)
    mount_point = "/var/lib/postgresql/9.1/main"
    size        = 200
  }

  volume "/dev/sdg" { # EBSVolume('/dev/sdf1', …, 200, iops=1600)
    mount_point = "/var/lib/postgresql/9.1/fast"
    size        = 200
    volume_type = "io1"
    iops        = 1600
  }

  volume "/dev/sdh" { # EBSVolume('/dev/sdf1', …, 200, file_system=FILESYSTEMS.EXT4)
    mount_point = "/var/lib/postgresql/9.1/ext4"
    size        = 200
    file_system = "ext4"
  }
}
