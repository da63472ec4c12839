"""Installs an image on the right disk.

detached    commands that survive a lost connection
disks       finds the volume's disk by its serial, or as the only new one
guard       reads one disk closely: its contents and its users
images      the image and its source, as the installer's flags
installers  runs coreos-install or flatcar-install, and verifies the disk
tools       programs that the installers need
"""

__all__ = ["detached", "disks", "installers", "tools"]
