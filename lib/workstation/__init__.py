"""The machine that the installer runs on, reached here, over SSH or in the local cloud.

files     files changed on it, with an entry in the journal
identity  whether it is the machine that the cloud means
notes     what a later stage cannot learn from the cloud
shell     one command at a time
ssh       OpenSSH with its configuration, agent and jump hosts
"""

__all__ = ["files", "identity", "notes", "shell", "ssh"]
