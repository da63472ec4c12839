"""The machine that the installer runs on: this one, one over SSH, or one of the local cloud.

files     changes of files and disks, with an entry in the journal
identity  whether it is the virtual machine that the volume is attached to
notes     facts for a later stage that the cloud does not have
shell     runs one command at a time
ssh       OpenSSH with its configuration, agent and jump hosts
survey    whether it can be used: reached, as root, and the machine that the cloud means
"""

__all__ = ["files", "identity", "notes", "shell", "ssh", "survey"]
