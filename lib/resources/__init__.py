"""What a cluster is made from at the cloud, and what still holds its names.

copies     the template in further zones
held       names and addresses that destroyed machines still hold
snapshots  the snapshot of the disk
templates  the template, made of the snapshot, registered, or existing
volumes    the disk that is installed
"""

__all__ = ["copies", "held", "snapshots", "templates", "volumes"]
