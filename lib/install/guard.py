"""A close look at one disk: what it holds and who has it, read from the disk and the kernel.

lsblk may know nothing of either. The look is taken when the disk is chosen, and again by `guard`
right before it is written on; `state` tells by it what a failed installer left.
"""

import hashlib
import re
import shlex

from lib.workstation.shell import Shell, run

Condition = tuple[str, object, object, bool]  # what, wanted, found, met
MIB = 2**20
PLACES, BLOCK = 400, 16384  # how many places of the disk are read, spread evenly; bytes of each
CHANGED = 76  # exit code of the guard

# Who has the disk open, and the loop devices on it: neither need be exclusive, as dd and qemu show.
# In the guard the parent has it open for us. udev opens disks for a moment: it is asked some times.
USERS = """\
users() {{
    find /proc/[0-9]*/fd '(' -lname {at} -o -lname {parts} ')' 2>/dev/null | cut -d/ -f3 |
        sort -un | while read -r p; do
            [ "$p" = "$PPID" ] || echo "$(cat /proc/$p/comm 2>/dev/null) (process $p)"
        done
    for file in /sys/block/*/loop/backing_file; do
        read -r on <"$file" && case $on in
            {at} | {pattern}) file=${{file%/loop/*}}; echo "${{file##*/}}" ;;
        esac
    done 2>/dev/null
}}
for _ in 1 2 3 4 5; do
    found=$(users | paste -s -d, -); [ -n "$found" ] || break; sleep 0.4
done
"""
# `wipefs -n` writes nothing, but with -a it opens the disk as one that will: exclusively.
LOOK = (
    USERS
    + """\
say() {{ printf '> %s\n' "$*"; }}
places() {{
    perl -e 'open F, "<:raw", shift or exit 1; for $i (0 .. {last}) {{
        sysseek F, $i * {step}, 0; sysread(F, $b, {block}) or exit 1; print $b }}' {at} ||
    for i in $(seq 0 {last}); do dd if={at} bs={block} skip=$((i * {step} / {block})) count=1; done
}}
say lsblk "$(lsblk -b -d -n -r -o SIZE,SERIAL,WWN,HCTL,RO,MAJ:MIN {at} 2>&1)"
say real "$(readlink -f {at})"
blkid -p {at}; say blkid $?; wipefs -n {at}; say wipefs $?
if wipefs -n -a {at} >/dev/null 2>&1; then say alone yes; else say alone no; fi
say head "$(head -c {mib} {at} | sha256sum)"
say tail "$(tail -c {mib} {at} | sha256sum)"
say places "$(places 2>/dev/null | sha256sum)"
say users "${{found:-none}}"
"""
)


def looked_at(size: int) -> str:
    """Say what of a disk of so many bytes is looked at."""
    return f"its first and last MiB, {_places(size)} places of {BLOCK // 1024} KiB, and its users"


def look(shell: Shell, device: str, size: int) -> str:
    """Return what is read from a disk of `size` bytes, and who has it, for the functions below."""
    script = f"exec 2>&1\n{_look(device, size)}"  # not what sudo itself says
    return run(shell, f"sh -c {shlex.quote(script)}", sudo=True, within=600).out.strip()


def users(shell: Shell, device: str) -> list[str]:
    """Return the programs that have the disk or a part of it open, and the loop devices on it."""
    script = USERS.format(**_names(device)) + 'echo "$found"'
    return run(shell, f"sh -c {shlex.quote(script)}", sudo=True).out.strip().splitlines()


def _names(device: str) -> dict[str, str]:
    """Return the disk's name, and the pattern of its partitions' names, as the scripts need it."""
    pattern = device + ("p[0-9]*" if device[-1].isdigit() else "[0-9]*")
    return {"at": shlex.quote(device), "parts": shlex.quote(pattern), "pattern": pattern}


def _look(device: str, size: int) -> str:
    places = _places(size)
    step = max(1, (size // BLOCK - 1) // max(1, places - 1)) * BLOCK
    numbers = {"last": places - 1, "step": step, "block": BLOCK, "mib": MIB}
    return LOOK.format(**_names(device), **numbers)


def _places(size: int) -> int:
    return min(PLACES, size // BLOCK)


def conditions(seen: str, device: str, size: int, own: bool) -> list[Condition]:
    """Return the conditions on what a look has seen; what could not be read is not met.

    With `own` the disk may hold our earlier install, and nothing else.
    """
    told, said = _parsed(seen)
    ends = (told.get("blkid"), told.get("wipefs"))
    is_ours = own and said and ends == ("0", "0") and _kinds(said) <= {"gpt", "PMBR"}
    is_blank = not said and ends == ("2", "0")
    signatures = "; ".join(said) or ("none" if is_blank else "unreadable")
    users, alone = (told.get(k, "not told") for k in ("users", "alone"))
    zero = _zeros(told, size)
    return [
        ("resolved path", device, told.get("real"), told.get("real") == device),
        ("signatures", "none", signatures, bool(is_ours or is_blank)),
        ("opens for us alone", "yes", alone, alone == "yes"),
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


def _zeros(told: dict, size: int) -> dict[str, bool]:
    """Tell of both ends, and of the places between, whether they hold nothing but zeros."""
    lengths = {"head": MIB, "tail": MIB, "places": _places(size) * BLOCK}
    zero = {k: hashlib.sha256(bytes(n)).hexdigest() for k, n in lengths.items()}
    return {k: told.get(k, "").startswith(zero[k]) for k in zero}


def _parsed(seen: str) -> tuple[dict[str, str], list[str]]:
    """Return what the look says by its names, and the signatures that blkid and wipefs list."""
    lines = seen.splitlines()
    told = dict(x[2:].split(" ", 1) for x in lines if re.match(r"> \w+ ", x))
    return told, [x for x in lines if not x.startswith((">", "DEVICE"))]


def _kinds(said: list[str]) -> set[str]:
    """Return the kinds of signatures that blkid and wipefs name in these lines."""
    words = [line.split() for line in said if re.match(r"\S+ +0x", line)]
    return {w[2] for w in words} | set(re.findall(r'TYPE="([^"]*)"', " ".join(said)))


def state(shell: Shell, device: str, size: int, before: str) -> tuple[str, bool]:
    """Return what a failed installer left, and whether the disk is blank.

    That is "untouched", "blank", "half written" or "wiped"; `before` is the look before it. What is
    not zero any more was written on.
    """
    (told, said), (was, had) = _parsed(look(shell, device, size)), _parsed(before)
    is_blank = not said and told.get("blkid") == "2" and all(_zeros(told, size).values())
    for seen in (told, was):
        seen["alone"] = seen["users"] = ""
    if (told, said) == (was, had):
        return "untouched", is_blank
    return "blank" if is_blank else "half written" if said else "wiped", is_blank


def guard(place: dict, command: str) -> str:
    """Return a command for root: `command`, if the disk still looks as when it was checked.

    The file `mark` of the place is there from then on: what is on the disk may be ours. The disk is
    held open from before the look until the command ends: so long, its name cannot be dealt to
    another one. The lock is a shared one, as udev's is, and what is started does not inherit it.
    """
    device, mark = shlex.quote(place["device"]), shlex.quote(place["mark"])
    stop = f'rm -f {mark}; echo {device} is in use, or not as it was checked: now "$now" >&2'
    check = f"""now=$({{ {_look(place["device"], place["size"])}
}} 2>&1) && [ "$now" = {shlex.quote(place["look"])} ] || {{ {stop}; exit {CHANGED}; }}"""
    held = shlex.quote(f"{check}\n: >{mark} && sync -- {mark} || exit 1\nexec {command}")
    return f"lsblk -d -n {device} >/dev/null && exec flock -os {device} sh -c {held}"
