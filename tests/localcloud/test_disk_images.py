"""Disk images: sparse files, real partition tables, a tree of files in a partition."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.localcloud.workstation import images
from lib.localcloud.workstation.releases import COREOS, FLATCAR

GIB = 2**30
LAYOUTS = pytest.mark.parametrize("rows", [COREOS.layout, FLATCAR.layout])


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "some" / "disk.raw"
    images.create_blank(path, 40 * GIB)
    return path


def put(path: Path, number: int, files: dict[str, bytes], **more: object) -> None:
    images.put_tree(path, number, files, kind="btrfs", label="ROOT", **more)


def test_a_blank_disk_has_its_size_takes_no_room_and_holds_nothing(disk):
    assert disk.stat().st_size == 40 * GIB and disk.stat().st_blocks * 512 < 2**20
    assert images.read_partitions(disk) == []
    assert images.table_type(disk) is images.signature(disk) is images.disk_guid(disk) is None


def test_a_copy_is_equal_and_keeps_the_holes(disk, tmp_path):
    images.write_image(disk, COREOS.layout)
    with open(disk, "r+b") as file:
        file.seek(30 * GIB + 123)
        file.write(b"far out")
    copy = tmp_path / "copy.raw"
    images.copy_sparse(disk, copy)
    assert copy.stat().st_size == 40 * GIB and copy.stat().st_blocks * 512 < 16 * 2**20
    assert images.read_partitions(copy) == images.read_partitions(disk)
    with open(copy, "rb") as file:
        assert os.pread(file.fileno(), 9, 30 * GIB + 122) == b"\0far out\0"


def test_a_copy_is_right_where_the_file_system_cannot_find_holes(tmp_path, monkeypatch):
    def cannot(*_):
        raise OSError(22, "Invalid argument")

    source, copy = tmp_path / "a", tmp_path / "b"
    images.create_blank(source, 3 * 2**20 + 5)
    with open(source, "r+b") as file:
        file.seek(2**20 - 1)
        file.write(b"across")
    monkeypatch.setattr(os, "lseek", cannot)
    images.copy_sparse(source, copy)
    assert copy.read_bytes() == source.read_bytes()


@LAYOUTS
def test_a_written_partition_table_is_read_back_and_ends_where_the_image_does(disk, rows):
    images.write_image(disk, rows)
    found = images.read_partitions(disk)
    assert [(p.number, p.label, p.size >> 20, p.type) for p in found] == [r[:4] for r in rows]
    assert all(p.start % 2**21 == 0 for p in found)
    assert (images.table_type(disk), images.disk_guid(disk)) == ("gpt", images.IMAGE_GUID)
    size = images.plan_layout(rows)[1]
    assert size < 10 * GIB
    with open(disk, "rb") as file:
        assert os.pread(file.fileno(), 8, size - 512) == b"EFI PART"
        assert os.pread(file.fileno(), 512, 40 * GIB - 512) == b"\0" * 512


def test_partitions_are_as_large_as_coreos_makes_them(disk):
    images.write_image(disk, COREOS.layout)
    root, usr = images.partition(disk, 9), images.partition(disk, 3)
    assert (root.label, root.size) == ("ROOT", 2 * GIB)
    assert root.type == "3884dd41-8582-4404-b9a8-e9b84f2df50e"
    assert (usr.label, usr.uuid) == ("USR-A", "7130c94a-213a-4e5a-8e26-6cce9662f132")
    with pytest.raises(KeyError):
        images.partition(disk, 5)


def test_a_damaged_header_is_not_believed_and_the_backup_helps(tmp_path):
    path, size = tmp_path / "image", images.plan_layout(COREOS.layout)[1]
    images.create_blank(path, size)
    images.write_image(path, COREOS.layout)
    before = images.read_partitions(path)
    for at, then in ((512 + 60, before), (size - 512 + 60, [])):
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(b"x")
        assert images.read_partitions(path) == then
    assert images.table_type(path) == "dos"


def test_a_tree_is_read_back_with_its_permissions_until_another_replaces_it(disk):
    images.write_image(disk, COREOS.layout)
    files = {"etc/a": b"1", "secret/b": b"\0" * 60_000}
    put(disk, 9, files, modes={"secret": 0o700, "secret/b": 0o600})
    assert images.tree(disk, 9) == files and images.tree(disk, 6) == {}
    assert [(name, oct(mode)) for name, mode, _ in images.entries(disk, 9)] == [
        ("secret", "0o700"),
        ("etc/a", "0o644"),
        ("secret/b", "0o600"),
    ]
    held = images.filesystem(disk, images.partition(disk, 9))
    assert (held.type, held.label) == ("btrfs", "ROOT")
    put(disk, 9, {"b": b"y"})
    assert images.tree(disk, 9) == {"b": b"y"}
    images.write_image(disk, COREOS.layout)
    assert images.tree(disk, 9) == {}
    images.wipe(disk)
    assert images.read_partitions(disk) == [] and images.table_type(disk) is None


def test_a_tree_that_does_not_fit_is_refused_and_nothing_is_written(disk):
    part = images.Partition(1, 2**20, 4096, images.LINUX, "x", images.IMAGE_GUID)
    images.write_gpt(disk, [part], 2**30)
    with pytest.raises(ValueError, match="do not fit into x"):
        put(disk, 1, {"a": b"."})
    assert images.tree(disk, 1) == {}


def test_signatures_of_other_programs_are_found(tmp_path):
    for offset, magic, name in images.SIGNATURES:
        images.create_blank(tmp_path / name, GIB)
        with open(tmp_path / name, "r+b") as file:
            file.seek(offset)
            file.write(magic)
        assert images.signature(tmp_path / name) == name


@pytest.mark.system
@LAYOUTS
def test_sgdisk_and_blkid_find_nothing_wrong_with_an_image(tmp_path, rows):
    for program, package in (("sgdisk", "gdisk"), ("blkid", "util-linux")):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (package {package})")
    path = tmp_path / "image"
    images.create_blank(path, images.plan_layout(rows)[1])
    images.write_image(path, rows)
    output = subprocess.run(
        ["sgdisk", "-v", "-p", path], capture_output=True, text=True, check=True
    )
    assert "No problems found" in output.stdout
    assert all(row[1] in output.stdout for row in rows)
    os.truncate(path, 40 * GIB)
    output = subprocess.run(["blkid", "-p", path], capture_output=True, text=True, check=True)
    assert 'PTTYPE="gpt"' in output.stdout
