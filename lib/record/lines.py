"""Lines that are appended to files by several processes: each goes to the system at once."""

import os


def append(handle: int, data: bytes) -> None:
    """Append bytes, all of them. Raises OSError where there is no room for them.

    Where there is room for a part only, the system writes that and raises nothing.
    """
    while data:
        data = data[os.write(handle, data) :]
