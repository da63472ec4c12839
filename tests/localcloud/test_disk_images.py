"""Disk images: sparse files, real partition tables, a tree of files in a partition."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.localcloud.workstation import images

GIB = 2**30
LAYOUTS = pytest.mark.parametrize("rows", [images.COREOS_2014, images.FLATCAR])


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "some" / "disk.raw"
    images.create_blank(path, 40 * GIB)
    return path


def used(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def test_a_blank_disk_has_its_size_takes_no_room_and_holds_nothing(disk):
    assert disk.stat().st_size == 40 * GIB
    assert used(disk) < 2**20
    assert images.read_partitions(disk) == []
    assert images.table_type(disk) is images.signature(disk) is images.disk_guid(disk) is None


def test_a_copy_is_equal_and_keeps_the_holes(disk, tmp_path):
    images.write_image(disk, images.COREOS_2014)
    with open(disk, "r+b") as file:
        file.seek(30 * GIB + 123)
        file.write(b"far out")
    copy = tmp_path / "copy.raw"
    images.copy_sparse(disk, copy)
    assert copy.stat().st_size == 40 * GIB
    assert used(copy) < 16 * 2**20
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
def test_a_written_partition_table_is_read_back(disk, rows):
    images.write_image(disk, rows)
    found = images.read_partitions(disk)
    assert [(p.number, p.label, p.size >> 20, p.type) for p in found] == [r[:4] for r in rows]
    assert all(p.start % 2**21 == 0 for p in found)
    assert images.table_type(disk) == "gpt"
    assert images.disk_guid(disk) == images.IMAGE_GUID


def test_partitions_are_as_large_as_coreos_makes_them(disk):
    images.write_image(disk, images.COREOS_2014)
    root, usr = images.partition(disk, 9), images.partition(disk, 3)
    assert (root.label, root.size) == ("ROOT", 2 * GIB)
    assert root.type == "3884dd41-8582-4404-b9a8-e9b84f2df50e"
    assert (usr.label, usr.uuid) == ("USR-A", "7130c94a-213a-4e5a-8e26-6cce9662f132")
    with pytest.raises(KeyError):
        images.partition(disk, 5)


@LAYOUTS
def test_the_backup_header_is_at_the_end_of_the_image_not_of_the_disk(disk, rows):
    images.write_image(disk, rows)
    size = images.plan_layout(rows)[1]
    assert size < 10 * GIB
    with open(disk, "rb") as file:
        assert os.pread(file.fileno(), 8, size - 512) == b"EFI PART"
        assert os.pread(file.fileno(), 512, 40 * GIB - 512) == b"\0" * 512


def test_a_damaged_header_is_not_believed_and_the_backup_helps(tmp_path):
    path = tmp_path / "image"
    size = images.plan_layout(images.COREOS_2014)[1]
    images.create_blank(path, size)
    images.write_image(path, images.COREOS_2014)
    before = images.read_partitions(path)
    with open(path, "r+b") as file:
        file.seek(512 + 60)
        file.write(b"x")
        assert images.read_partitions(path) == before
        file.seek(size - 512 + 60)
        file.write(b"x")
    assert images.read_partitions(path) == []
    assert images.table_type(path) == "dos"


def test_a_tree_is_read_back_with_its_permissions(disk):
    images.write_image(disk, images.COREOS_2014)
    files = {"etc/a": b"1", "secret/b": b"\0" * 3000}
    modes = {"secret": 0o700, "secret/b": 0o600}
    images.put_tree(disk, 9, files, kind="btrfs", label="ROOT", modes=modes)
    assert images.tree(disk, 9) == files
    assert [(name, oct(mode)) for name, mode, _ in images.entries(disk, 9)] == [
        ("secret", "0o700"),
        ("etc/a", "0o644"),
        ("secret/b", "0o600"),
    ]
    held = images.filesystem(disk, images.partition(disk, 9))
    assert (held.type, held.label) == ("btrfs", "ROOT")
    assert images.tree(disk, 6) == {}


def test_a_new_tree_replaces_the_old_one(disk):
    images.write_image(disk, images.COREOS_2014)
    images.put_tree(disk, 9, {"a": b"x" * 50_000}, kind="btrfs", label="ROOT")
    images.put_tree(disk, 9, {"b": b"y"}, kind="btrfs", label="ROOT")
    assert images.tree(disk, 9) == {"b": b"y"}


def test_a_tree_that_does_not_fit_is_refused_and_nothing_is_written(disk):
    images.write_gpt(
        disk, [images.Partition(1, 2**20, 4096, images.LINUX, "x", images.USR_A)], 2**30
    )
    with pytest.raises(ValueError, match="do not fit into x"):
        images.put_tree(disk, 1, {"a": b"."}, kind="ext4", label="x")
    assert images.tree(disk, 1) == {}


def test_a_new_image_leaves_nothing_of_the_old_trees(disk):
    images.write_image(disk, images.COREOS_2014)
    images.put_tree(disk, 9, {"a": b"x"}, kind="btrfs", label="ROOT")
    images.write_image(disk, images.COREOS_2014)
    assert images.tree(disk, 9) == {}


def test_a_wiped_disk_looks_blank(disk):
    images.write_image(disk, images.COREOS_2014)
    images.wipe(disk)
    assert images.read_partitions(disk) == []
    assert images.table_type(disk) is None


@pytest.mark.parametrize(("offset", "magic", "name"), images.SIGNATURES)
def test_signatures_of_other_programs_are_found(disk, offset, magic, name):
    with open(disk, "r+b") as file:
        file.seek(offset)
        file.write(magic)
    assert images.signature(disk) == name


@pytest.mark.system
@LAYOUTS
def test_sgdisk_finds_nothing_wrong_with_an_image(tmp_path, rows):
    if not shutil.which("sgdisk"):
        pytest.skip("sgdisk is not installed (package gdisk)")
    path = tmp_path / "image"
    images.create_blank(path, images.plan_layout(rows)[1])
    images.write_image(path, rows)
    said = subprocess.run(["sgdisk", "-v", "-p", path], capture_output=True, text=True, check=True)
    assert "No problems found" in said.stdout
    assert all(row[1] in said.stdout for row in rows)


@pytest.mark.system
def test_blkid_sees_a_gpt_on_a_larger_disk(disk):
    if not shutil.which("blkid"):
        pytest.skip("blkid is not installed (package util-linux)")
    images.write_image(disk, images.FLATCAR)
    said = subprocess.run(["blkid", "-p", disk], capture_output=True, text=True, check=True)
    assert 'PTTYPE="gpt"' in said.stdout
