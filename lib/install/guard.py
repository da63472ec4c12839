"""A close look at one disk: its contents and its users, read from the disk and the kernel.

lsblk may show neither. The look is taken when the disk is chosen, and again by `guard` right before
the installer writes; `state` compares it with the disk after a failed install.
"""

import hashlib
import re
import shlex
from dataclasses import dataclass

from lib.install.scripts import script
from lib.workstation.shell import Shell, run

Condition = tuple[str, object, object, bool]  # what, expected, found, met
MIB = 2**20
PLACES, BLOCK = 400, 16384  # samples of the disk, spread evenly; bytes of each
CHANGED = 76  # exit code of the guard


@dataclass(frozen=True)
class Place:
    """The disk to write on: its device, its `size` in bytes, and the `look` when it was checked.

    The file `mark`, below $HOME, is created right before the first write.
    """

    device: str
    size: int
    look: str
    mark: str


def checked_parts(size: int) -> str:
    """Return the words for the parts of a disk of `size` bytes that a look reads."""
    return f"its first and last MiB, {_places(size)} places of {BLOCK // 1024} KiB, and its users"


def look(shell: Shell, device: str, size: int) -> str:
    """Return a look at a disk of `size` bytes, for the functions below."""
    text = f"exec 2>&1\n{_look(device, size)}"  # without messages of sudo itself
    return run(shell, f"sh -c {shlex.quote(text)}", sudo=True, within=600).out.strip()


def users(shell: Shell, device: str) -> list[str]:
    """Return the programs that have the disk or a partition open, and loop devices on it."""
    text = script("users", **_names(device)) + 'echo "$found"'
    return run(shell, f"sh -c {shlex.quote(text)}", sudo=True).out.strip().splitlines()


def _names(device: str) -> dict[str, str]:
    """Return the names of the disk and its partitions, quoted for the scripts."""
    pattern = device + ("p[0-9]*" if device[-1].isdigit() else "[0-9]*")
    return {"at": shlex.quote(device), "parts": shlex.quote(pattern), "pattern": pattern}


def _look(device: str, size: int) -> str:
    places = _places(size)
    step = max(1, (size // BLOCK - 1) // max(1, places - 1)) * BLOCK
    numbers = {"last": places - 1, "step": step, "block": BLOCK, "mib": MIB}
    names = _names(device)
    return script("look", users=script("users", **names), **names, **numbers)


def _places(size: int) -> int:
    return min(PLACES, size // BLOCK)


def conditions(seen: str, device: str, size: int, own: bool) -> list[Condition]:
    """Return the conditions on a look; a value that could not be read does not meet its condition.

    With `own` the disk may have our earlier install, and nothing else.
    """
    values, signs = _parsed(seen)
    ends = (values.get("blkid"), values.get("wipefs"))
    is_ours = own and signs and ends == ("0", "0") and _kinds(signs) <= {"gpt", "PMBR"}
    is_blank = not signs and ends == ("2", "0")
    signatures = "; ".join(signs) or ("none" if is_blank else "unreadable")
    users, alone = (values.get(k, "unknown") for k in ("users", "alone"))
    zero = _zeros(values, size)
    return [
        ("resolved path", device, values.get("real"), values.get("real") == device),
        ("signatures", "none", signatures, bool(is_ours or is_blank)),
        ("opens exclusively", "yes", alone, alone == "yes"),
        ("open in programs, loop devices", "none", users, users == "none"),
        *(
            (what, "all zero", "all zero" if zero[key] else "something else", own or zero[key])
            for key, what in (
                ("head", "first MiB"),
                ("tail", "last MiB"),
                ("places", f"{_places(size)} places of {BLOCK // 1024} KiB"),
            )
        ),
    ]


def _zeros(values: dict, size: int) -> dict[str, bool]:
    """Return whether the first MiB, the last MiB and the samples between are all zero."""
    lengths = {"head": MIB, "tail": MIB, "places": _places(size) * BLOCK}
    zero = {k: hashlib.sha256(bytes(n)).hexdigest() for k, n in lengths.items()}
    return {k: values.get(k, "").startswith(zero[k]) for k in zero}


def _parsed(seen: str) -> tuple[dict[str, str], list[str]]:
    """Return the named values of a look, and the signatures that blkid and wipefs list."""
    lines = seen.splitlines()
    values = dict(x[2:].split(" ", 1) for x in lines if re.match(r"> \w+ ", x))
    return values, [x for x in lines if not x.startswith((">", "DEVICE"))]


def _kinds(signs: list[str]) -> set[str]:
    """Return the kinds of signatures in these lines of blkid and wipefs."""
    words = [line.split() for line in signs if re.match(r"\S+ +0x", line)]
    return {w[2] for w in words} | set(re.findall(r'TYPE="([^"]*)"', " ".join(signs)))


def state(shell: Shell, place: Place) -> tuple[str, bool]:
    """Return the state in which a failed installer left the disk, and whether it is blank.

    The state is "untouched", "blank", "half written" or "wiped". A disk that is not all zero any
    more was written on.
    """
    (values, signs) = _parsed(look(shell, place.device, place.size))
    was, had = _parsed(place.look)
    is_blank = not signs and values.get("blkid") == "2" and all(_zeros(values, place.size).values())
    for seen in (values, was):
        seen["alone"] = seen["users"] = ""
    if (values, signs) == (was, had):
        return "untouched", is_blank
    return "blank" if is_blank else "half written" if signs else "wiped", is_blank


def guard(place: Place, command: str) -> str:
    """Return a command for root that runs `command` if the disk has not changed since its look.

    It creates the file `mark` of the place first: from then on the disk may have our data. The disk
    stays open from before the look until the command ends, so that its name cannot go to another
    disk. The lock is shared, as udev's is, and the command does not inherit it.
    """
    device, mark = shlex.quote(place.device), shlex.quote(place.mark)
    stop = f'rm -f {mark}; echo {device} is in use, or has changed. It is now: "$now" >&2'
    check = f"""now=$({{ {_look(place.device, place.size)}
}} 2>&1) && [ "$now" = {shlex.quote(place.look)} ] || {{ {stop}; exit {CHANGED}; }}"""
    held = shlex.quote(f"{check}\n: >{mark} && sync -- {mark} || exit 1\nexec {command}")
    return f"lsblk -d -n {device} >/dev/null && exec flock -os {device} sh -c {held}"
