"""Disk images: sparse files, GPT partition tables, and a tree of files in a partition.

The partition tables are real. File systems are not: a partition has one tar archive at its start,
whose first member names the file system that it stands for. That is enough to install, mount,
compare and boot, needs no root, and no program would take it for a real file system.
"""

from __future__ import annotations

import io
import json
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

SECTOR = 512
MIB = 2**20
CHUNK = MIB
ENTRIES, ENTRY_SIZE = 128, 128
TABLE_SECTORS = ENTRIES * ENTRY_SIZE // SECTOR
HEADER = struct.Struct("<8s4sIII4Q16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")
MAGIC = "localcloud-tree.json"

LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
IMAGE_GUID = "00000000-0000-0000-0000-000000000001"

# Signatures of other programs on a disk: offset, bytes, and blkid's name.
SIGNATURES = (
    (0x438, b"\x53\xef", "ext4"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"XFSB", "xfs"),
    (0xFF6, b"SWAPSPACE2", "swap"),
    (0x218, b"LVM2 001", "LVM2_member"),
    (0x8001, b"CD001", "iso9660"),
    (0x52, b"FAT32", "vfat"),
)


class Partition(NamedTuple):
    """One entry of a partition table; start and size in bytes."""

    number: int
    start: int
    size: int
    type: str
    label: str
    uuid: str = ""


class Filesystem(NamedTuple):
    """The file system that the tree of a partition stands for."""

    type: str
    label: str
    uuid: str


# Number, label, MiB, type GUID, own GUID if every image has the same.
Layout = Sequence[tuple[int, str, int, str, str]]
Path = str | os.PathLike


def create_blank(path: Path, size: int) -> None:
    """Create a sparse file of so many zero bytes."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file with its holes; blocks of zeros become holes too."""
    size = os.stat(source).st_size
    create_blank(target, size)
    with open(source, "rb") as old, open(target, "r+b") as new:
        for start, end in _extents(old.fileno(), size):
            for at in range(start, end, CHUNK):
                block = os.pread(old.fileno(), min(CHUNK, end - at), at)
                if block.strip(b"\0"):
                    os.pwrite(new.fileno(), block, at)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the extents of the data; the whole file where the file system has none."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == 6:  # ENXIO: nothing but holes from here on
                return
            start, end = end, size
        yield start, end


def plan_layout(rows: Layout) -> tuple[list[Partition], int]:
    """Return the partitions of an image, one behind the other, and the image's size in bytes."""
    at, found = 2 * MIB, []
    for number, label, mib, kind, own in rows:
        own = own or str(uuid.uuid5(uuid.UUID(kind), label))
        found.append(Partition(number, at, mib * MIB, kind, label, own))
        at += mib * MIB
    return found, at + 2 * MIB


def write_gpt(
    path: Path, partitions: Sequence[Partition], size: int, *, guid: str = IMAGE_GUID
) -> None:
    """Write protective MBR, both headers and both tables of an image of `size` bytes.

    The backup goes to the end of the image. On a larger disk that is not the end of the disk, as
    after writing a real image; on a smaller one the backup is cut off.
    """
    last = size // SECTOR - 1
    table = _entries(partitions)
    head = _header(1, last, 2, guid, last, table)
    tail = _header(last, 1, last - TABLE_SECTORS, guid, last, table)
    room = os.stat(path).st_size
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), _protective_mbr(last) + head.ljust(SECTOR, b"\0") + table, 0)
        if room >= size:
            backup = table + tail.ljust(SECTOR, b"\0")
            os.pwrite(file.fileno(), backup, (last - TABLE_SECTORS) * SECTOR)


def _protective_mbr(last: int) -> bytes:
    entry = b"\0\0\x02\0\xee\xff\xff\xff" + struct.pack("<II", 1, min(last, 2**32 - 1))
    return b"\0" * 446 + entry + b"\0" * 48 + b"\x55\xaa"


def _header(here: int, other: int, table_at: int, guid: str, last: int, table: bytes) -> bytes:
    usable = (2 + TABLE_SECTORS, last - TABLE_SECTORS - 1)
    ident = uuid.UUID(guid).bytes_le
    rest = (here, other, *usable, ident, table_at, ENTRIES, ENTRY_SIZE, zlib.crc32(table))
    fixed = (b"EFI PART", b"\0\0\1\0", HEADER.size)
    return HEADER.pack(*fixed, zlib.crc32(HEADER.pack(*fixed, 0, 0, *rest)), 0, *rest)


def _entries(partitions: Sequence[Partition]) -> bytes:
    table = bytearray(ENTRIES * ENTRY_SIZE)
    for p in partitions:
        kind, own = uuid.UUID(p.type).bytes_le, uuid.UUID(p.uuid).bytes_le
        first, last = p.start // SECTOR, (p.start + p.size) // SECTOR - 1
        name = p.label.encode("utf-16-le")
        ENTRY.pack_into(table, (p.number - 1) * ENTRY_SIZE, kind, own, first, last, 0, name)
    return bytes(table)


def read_partitions(path: Path) -> list[Partition]:
    """Return the partitions by number; none if neither header is sound."""
    found = _table(path)
    entries = enumerate(ENTRY.iter_unpack(found[1]), 1) if found else ()
    return [_read_entry(number, *raw) for number, raw in entries if raw[0].strip(b"\0")]


def _read_entry(
    number: int, kind: bytes, own: bytes, first: int, last: int, *rest: bytes
) -> Partition:
    kind_guid, own_guid = (str(uuid.UUID(bytes_le=guid)) for guid in (kind, own))
    label = rest[1].decode("utf-16-le").rstrip("\0")
    size = (last - first + 1) * SECTOR
    return Partition(number, first * SECTOR, size, kind_guid, label, own_guid)


def disk_guid(path: Path) -> str | None:
    """Return the GUID in the partition table, None if there is no sound one."""
    found = _table(path)
    return str(uuid.UUID(bytes_le=found[0])) if found else None


def _table(path: Path) -> tuple[bytes, bytes] | None:
    """Return GUID and table from the first header, or from the backup."""
    with open(path, "rb") as file:
        size = os.stat(path).st_size
        for at in (SECTOR, size - SECTOR):
            head = os.pread(file.fileno(), HEADER.size, max(at, 0))
            if len(head) == HEADER.size and head.startswith(b"EFI PART"):
                fields = HEADER.unpack(head)
                table = os.pread(file.fileno(), ENTRIES * ENTRY_SIZE, fields[10] * SECTOR)
                zeroed = head[:16] + b"\0" * 4 + head[20:]
                if (fields[3], fields[13]) == (zlib.crc32(zeroed), zlib.crc32(table)):
                    return fields[9], table
    return None


def partition(path: Path, number: int) -> Partition:
    """Return the partition of that number; KeyError if there is none."""
    return {p.number: p for p in read_partitions(path)}[number]


def table_type(path: Path) -> str | None:
    """Return the kind of partition table: "gpt", "dos" or None."""
    if _table(path):
        return "gpt"
    with open(path, "rb") as file:
        return "dos" if os.pread(file.fileno(), 2, 510) == b"\x55\xaa" else None


def signature(path: Path, start: int = 0) -> str | None:
    """Return the kind of real file system or the like that begins at that byte, if any."""
    with open(path, "rb") as file:
        for offset, magic, name in SIGNATURES:
            if os.pread(file.fileno(), len(magic), start + offset) == magic:
                return name
    return None


def write_image(path: Path, rows: Layout) -> None:
    """Write an image's partition table, and erase the partitions."""
    partitions, size = plan_layout(rows)
    write_gpt(path, partitions, size)
    room = os.stat(path).st_size
    with open(path, "r+b") as file:
        for p in partitions:
            os.pwrite(file.fileno(), b"\0" * max(0, min(128 * 1024, room - p.start)), p.start)


def wipe(path: Path) -> None:
    """Make the disk look blank: zero its first and last MiB and the backup table."""
    size = os.stat(path).st_size
    partitions = read_partitions(path)
    ends = [max((p.start + p.size for p in partitions), default=0), max(size - MIB, 0)]
    with open(path, "r+b") as file:
        for at in (0, *ends):
            os.pwrite(file.fileno(), b"\0" * max(0, min(2 * MIB, size - at)), at)


def put_tree(
    path: Path,
    number: int,
    files: Mapping[str, bytes],
    *,
    kind: str,
    label: str,
    modes: Mapping[str, int] | None = None,
) -> None:
    """Fill a partition with these files (names relative to its root).

    `modes` gives permissions that differ from 0644; a name in it that is no file is a directory.
    ValueError if the tree does not fit.
    """
    import tarfile  # slow to import, and most stand-ins only look at the first member

    where = partition(path, number)
    note = {"type": kind, "label": label, "uuid": str(uuid.uuid5(uuid.UUID(where.uuid), kind))}
    modes = dict(modes or {})
    content: dict[str, bytes | None] = {MAGIC: json.dumps(note).encode()}
    content |= {name: None for name in modes if name not in files}
    content |= files
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            member.mode, member.size = modes.get(name, 0o644), len(data or b"")
            tar.addfile(member, io.BytesIO(data or b""))
    data = archive.getvalue()
    if len(data) > where.size:
        raise ValueError(f"{len(data)} bytes do not fit into {where.label} ({where.size} bytes)")
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), data, where.start)


def filesystem(path: Path, where: Partition) -> Filesystem | None:
    """Return the file system that the partition's tree stands for, None without a tree."""
    with open(path, "rb") as file:
        head = os.pread(file.fileno(), SECTOR, where.start)
        if not head.startswith(MAGIC.encode() + b"\0"):
            return None
        note = os.pread(file.fileno(), int(head[124:135], 8), where.start + SECTOR)
    return Filesystem(**json.loads(note))


def entries(path: Path, number: int) -> Iterator[tuple[str, int, bytes | None]]:
    """Yield name, mode and content (None: a directory) of a partition's files."""
    import tarfile

    where = partition(path, number)
    if not filesystem(path, where):
        return
    with open(path, "rb") as file:
        file.seek(where.start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                data = tar.extractfile(info)
                if info.name != MAGIC:
                    yield info.name, info.mode, data.read() if data else None


def tree(path: Path, number: int) -> dict[str, bytes]:
    """Return the files of a partition by name, none without a tree."""
    return {name: data for name, _, data in entries(path, number) if data is not None}
