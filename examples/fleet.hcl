# /etc/snaptastic/fleet.hcl: the same file may be on all machines; a host reads server and worker, control reads
# server and control, and whoever types the commands server and clusters.

server {
  address   = "temporal.internal:7233"
  namespace = "production"
  key_file  = "/etc/snaptastic/fleet.key" # what is stored at the server is encrypted with it; or key_command, for KMS: docs/fleet.md

  tls {
    ca   = "/etc/snaptastic/tls/ca.pem"
    cert = "/etc/snaptastic/tls/host.pem"
    key  = "/etc/snaptastic/tls/host.key"
  }
}

worker {
  # All that can be asked of this host. Settings, hooks and paths are the host's own.
  allow = ["snapshot db", "restore db", "mount db", "verify db"]

  probe "postgres" {
    command = ["/usr/bin/pg_isready", "--host=/run/postgresql"]
    timeout = "30s"
  }
}

cluster "shards" {
  snapshotter = "db"
  lead        = "10s" # from the order to the instant: for every host to take it
  hold        = "2s"  # how long all stay frozen: more than their clocks differ
  at_once     = 2     # hosts that are restored at a time
  stop_after  = 1     # failures after which no further host is begun
  probe       = "postgres"

  host "db-1" { shard = "1" }
  host "db-2" { shard = "2" }
  host "db-3" { shard = "3" }
}

# Hosts that come and go are found by the tags of their instances. Their workers have host = "instance-id".
# cluster "search" {
#   snapshotter = "db"
#   hosts {
#     tags      = { cluster = "search" }
#     shard_tag = "shard"
#     at_least  = 3
#   }
# }
