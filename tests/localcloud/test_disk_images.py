"""Disk images: sparse files, real partition tables, a tree of files in a partition."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.localcloud import disks

GIB = 2**30
LAYOUTS = pytest.mark.parametrize("rows", [disks.COREOS_2014, disks.FLATCAR])


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "some" / "disk.raw"
    disks.create_blank(path, 40 * GIB)
    return path


def used(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def test_a_blank_disk_has_its_size_takes_no_room_and_holds_nothing(disk):
    assert disk.stat().st_size == 40 * GIB
    assert used(disk) < 2**20
    assert disks.read_partitions(disk) == []
    assert disks.table_type(disk) is disks.signature(disk) is disks.disk_guid(disk) is None


def test_a_copy_is_equal_and_keeps_the_holes(disk, tmp_path):
    disks.write_image(disk, disks.COREOS_2014)
    with open(disk, "r+b") as file:
        file.seek(30 * GIB + 123)
        file.write(b"far out")
    copy = tmp_path / "copy.raw"
    disks.copy_sparse(disk, copy)
    assert copy.stat().st_size == 40 * GIB
    assert used(copy) < 16 * 2**20
    assert disks.read_partitions(copy) == disks.read_partitions(disk)
    with open(copy, "rb") as file:
        assert os.pread(file.fileno(), 9, 30 * GIB + 122) == b"\0far out\0"


def test_a_copy_is_right_where_the_file_system_cannot_find_holes(tmp_path, monkeypatch):
    def cannot(*_):
        raise OSError(22, "Invalid argument")

    source, copy = tmp_path / "a", tmp_path / "b"
    disks.create_blank(source, 3 * 2**20 + 5)
    with open(source, "r+b") as file:
        file.seek(2**20 - 1)
        file.write(b"across")
    monkeypatch.setattr(os, "lseek", cannot)
    disks.copy_sparse(source, copy)
    assert copy.read_bytes() == source.read_bytes()


@LAYOUTS
def test_what_was_written_as_a_table_is_read_back(disk, rows):
    disks.write_image(disk, rows)
    found = disks.read_partitions(disk)
    assert [(p.number, p.label, p.size >> 20, p.type) for p in found] == [r[:4] for r in rows]
    assert all(p.start % 2**21 == 0 for p in found)
    assert disks.table_type(disk) == "gpt"
    assert disks.disk_guid(disk) == disks.IMAGE_GUID


def test_partitions_are_as_large_as_coreos_makes_them(disk):
    disks.write_image(disk, disks.COREOS_2014)
    root, usr = disks.partition(disk, 9), disks.partition(disk, 3)
    assert (root.label, root.size) == ("ROOT", 2 * GIB)
    assert root.type == "3884dd41-8582-4404-b9a8-e9b84f2df50e"
    assert (usr.label, usr.uuid) == ("USR-A", "7130c94a-213a-4e5a-8e26-6cce9662f132")
    with pytest.raises(KeyError):
        disks.partition(disk, 5)


@LAYOUTS
def test_the_backup_header_is_at_the_end_of_the_image_not_of_the_disk(disk, rows):
    disks.write_image(disk, rows)
    size = disks.plan_layout(rows)[1]
    assert size < 10 * GIB
    with open(disk, "rb") as file:
        assert os.pread(file.fileno(), 8, size - 512) == b"EFI PART"
        assert os.pread(file.fileno(), 512, 40 * GIB - 512) == b"\0" * 512


def test_a_damaged_header_is_not_believed_and_the_backup_helps(tmp_path):
    path = tmp_path / "image"
    size = disks.plan_layout(disks.COREOS_2014)[1]
    disks.create_blank(path, size)
    disks.write_image(path, disks.COREOS_2014)
    before = disks.read_partitions(path)
    with open(path, "r+b") as file:
        file.seek(512 + 60)
        file.write(b"x")
        assert disks.read_partitions(path) == before
        file.seek(size - 512 + 60)
        file.write(b"x")
    assert disks.read_partitions(path) == []
    assert disks.table_type(path) == "dos"


def test_a_tree_is_read_back_with_its_permissions(disk):
    disks.write_image(disk, disks.COREOS_2014)
    files = {"etc/a": b"1", "secret/b": b"\0" * 3000}
    modes = {"secret": 0o700, "secret/b": 0o600}
    disks.put_tree(disk, 9, files, kind="btrfs", label="ROOT", modes=modes)
    assert disks.tree(disk, 9) == files
    assert [(name, oct(mode)) for name, mode, _ in disks.entries(disk, 9)] == [
        ("secret", "0o700"),
        ("etc/a", "0o644"),
        ("secret/b", "0o600"),
    ]
    held = disks.filesystem(disk, disks.partition(disk, 9))
    assert (held.type, held.label) == ("btrfs", "ROOT")
    assert disks.tree(disk, 6) == {}


def test_a_new_tree_replaces_the_old_one(disk):
    disks.write_image(disk, disks.COREOS_2014)
    disks.put_tree(disk, 9, {"a": b"x" * 50_000}, kind="btrfs", label="ROOT")
    disks.put_tree(disk, 9, {"b": b"y"}, kind="btrfs", label="ROOT")
    assert disks.tree(disk, 9) == {"b": b"y"}


def test_a_tree_that_does_not_fit_is_refused_and_nothing_is_written(disk):
    disks.write_gpt(disk, [disks.Partition(1, 2**20, 4096, disks.LINUX, "x", disks.USR_A)], 2**30)
    with pytest.raises(ValueError, match="do not fit into x"):
        disks.put_tree(disk, 1, {"a": b"."}, kind="ext4", label="x")
    assert disks.tree(disk, 1) == {}


def test_a_new_image_leaves_nothing_of_the_old_trees(disk):
    disks.write_image(disk, disks.COREOS_2014)
    disks.put_tree(disk, 9, {"a": b"x"}, kind="btrfs", label="ROOT")
    disks.write_image(disk, disks.COREOS_2014)
    assert disks.tree(disk, 9) == {}


def test_a_wiped_disk_looks_blank(disk):
    disks.write_image(disk, disks.COREOS_2014)
    disks.wipe(disk)
    assert disks.read_partitions(disk) == []
    assert disks.table_type(disk) is None


@pytest.mark.parametrize(("offset", "magic", "name"), disks.SIGNATURES)
def test_what_other_programs_left_is_seen(disk, offset, magic, name):
    with open(disk, "r+b") as file:
        file.seek(offset)
        file.write(magic)
    assert disks.signature(disk) == name


@pytest.mark.system
@LAYOUTS
def test_sgdisk_finds_nothing_wrong_with_an_image(tmp_path, rows):
    if not shutil.which("sgdisk"):
        pytest.skip("sgdisk is not installed (package gdisk)")
    path = tmp_path / "image"
    disks.create_blank(path, disks.plan_layout(rows)[1])
    disks.write_image(path, rows)
    said = subprocess.run(["sgdisk", "-v", "-p", path], capture_output=True, text=True, check=True)
    assert "No problems found" in said.stdout
    assert all(row[1] in said.stdout for row in rows)


@pytest.mark.system
def test_blkid_sees_a_gpt_on_a_larger_disk(disk):
    if not shutil.which("blkid"):
        pytest.skip("blkid is not installed (package util-linux)")
    disks.write_image(disk, disks.FLATCAR)
    said = subprocess.run(["blkid", "-p", disk], capture_output=True, text=True, check=True)
    assert 'PTTYPE="gpt"' in said.stdout
