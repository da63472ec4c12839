"""The workstation of the local cloud: a shell whose programs for disks act on volumes."""
