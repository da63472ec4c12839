"""An image onto the right disk.

detached    commands that outlive the connection
disks       which disk is ours, by comparing before and after
guard       a close look at one disk and at who uses it
images      what is installed, and where it comes from
installers  coreos-install and flatcar-install: run, and what they wrote proved
tools       programs that the installers need
"""

__all__ = ["detached", "disks", "installers", "tools"]
