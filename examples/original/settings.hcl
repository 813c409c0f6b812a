# The settings file of the original's README, snaptastic_settings.py:
#
#   AWS_ACCESS_KEY_ID = 'key'          not here: use the instance's role or the environment
#   AWS_SECRET_ACCESS_KEY = 'secret'   same
#   REGION = 'eu-west-1'               only to override the instance's region
#
#   class SolrSnapshotter(Snapshotter):
#       name = 'solr'
#       def get_volumes(self):
#           return [EBSVolume('/dev/sdf', '/mnt/solr', size=20)]

aws {
  region = "eu-west-1"
}

snapshotter "solr" {
  expire_after = "7d" # SNAPSHOT_EXPIRY_DAYS defaulted to 7; without expire_after, snapshots never expire

  volume "/dev/sdf" {
    mount_point = "/mnt/solr"
    size        = 20
  }
}
