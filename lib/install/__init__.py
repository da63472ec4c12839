"""Installs an image on the right disk.

detached    commands that survive a lost connection
disks       the volume's disk on the workstation: noted, checked, released
evidence    which disk is the volume's: by its serial, or as the only new one
fetched     the installer as a file: on root's PATH, or fetched from a URL
guard       reads one disk closely: its contents and its users
images      the image and its source, as the installer's flags
installers  installs with coreos-install or flatcar-install, and verifies the disk
inventory   the block devices, as lsblk lists them
noted       the notes on the attach and on the install
order       what to install where
picture     the disks before and after, as a picture
readback    an installed disk read back
running     one run of an installer, and the state in which it leaves the disk
scripts     scripts for the workstation, the files in `sh`
survey      whether the image and its installer can be used
tools       programs that the installers need
"""

__all__ = ["detached", "disks", "images", "installers", "order", "picture", "survey", "tools"]
