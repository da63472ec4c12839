"""Profiles: which cloud, and with whose keys.

`local` is the embedded cloud (`local?dialect=2.2&time_scale=0.005` sets its options), `env` reads
CLOUDSTACK_ENDPOINT, CLOUDSTACK_KEY and CLOUDSTACK_SECRET, any other name is a section of cs's
files (~/.cloudstack.ini, ./cloudstack.ini, $CLOUDSTACK_CONFIG; the last one wins, as with `cs`) or
of cloudmonkey's ~/.cmk/config (of version 5 or 6). No profile ever borrows from another. A user
and password in the endpoint's URL are taken out of it: they go to the server, and nowhere else.
What a cloud may do to us is bounded by four settings, which a section or the environment (as
CLOUDSTACK_DEADLINE) can set: deadline, max_answer, max_rows and max_pause.

files    the environment, and the files of `cs` and of cloudmonkey
local    the embedded cloud
profile  what it takes to talk to one cloud
"""

from urllib.parse import parse_qsl

from lib.profiles import files, local
from lib.profiles.files import HEAD
from lib.profiles.profile import Profile
from lib.record import masks

__all__ = ["HEAD", "Profile", "kept", "read"]


def read(name: str) -> Profile:
    """Return the profile of that name.

    Raises ProfileError naming what was looked for and where; keys are never shown.
    """
    base, _, options = name.partition("?")
    if base == "local":
        return local.start(name, dict(parse_qsl(options)))
    if name == "env":
        return files.from_env()
    return files.from_files(name)


def kept() -> list[str]:
    """Return all secrets that any profile of this user holds, for those who look for them."""
    found = files.kept() + local.kept()
    return list(dict.fromkeys(t for t in found if len(t) >= masks.SHORTEST))
