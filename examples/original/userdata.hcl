# The original's UserdataSnapshotter: [EBSVolume(**v) for v in self.userdata['volumes']].
#
# The userdata can stay unchanged. A device /dev/sdf1 in it is read as /dev/sdf, with
# a warning. If several share a letter (/dev/sdf1, /dev/sdf2), give each its own letter,
# there or here: labels = ["/dev/sd${element(split("", "fghijklmnop"), volume.key)}"].

snapshotter "userdata_example" {
  dynamic "volume" {
    for_each = userdata.volumes
    labels   = [volume.value.device]
    content {
      mount_point           = volume.value.mount_point
      size                  = try(volume.value.size, 5)
      iops                  = try(volume.value.iops, null)
      volume_type           = try(volume.value.volume_type, can(volume.value.iops) ? "io1" : null) # iops meant io1
      file_system           = try(volume.value.file_system, "xfs")
      mount_options         = try(volume.value.mount_options, "defaults")
      delete_on_termination = try(volume.value.delete_on_termination, true)
    }
  }
}
