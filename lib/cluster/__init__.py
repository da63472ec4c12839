"""The machines as a cluster.

admission    whether security groups let etcd and SSH in
booting      starts them, with other offerings where no host has room
capacity     what an account can see of the causes when no host has room
deployment   the steps that get them running
etcd         what the etcd of each machine answers
inside       what the machines say over SSH
joining      members that come to an etcd that runs
left         machines in zones that are named no more, or renamed to be removed
leaving      machines taken out of etcd, then destroyed
login        the machines reached over SSH
matrix       the answers as a table
membership   etcd's members, added and removed within the quorum
placement    the networks and groups that machines are put into
published    a public address for SSH to the first machine
reconfigure  another configuration for machines that run
registry     whom the discovery registry lists
removal      everything of the cluster removed, in order of dependence
rolling      reboots, one machine at a time
turns        the timeline of these, as a picture
verify       whether the machines are the cluster that was asked for
"""

__all__ = [
    "admission",
    "deployment",
    "joining",
    "leaving",
    "login",
    "matrix",
    "membership",
    "placement",
    "published",
    "reconfigure",
    "removal",
    "rolling",
    "verify",
]
