"""Small real notebooks to run."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from lib.commands import orders

Book = Callable[..., Path]
# The command in a process of its own, with kernels as `small_kernels` has them.
SMALL = """\
import sys
from lib.commands.main import main
from lib.commands import orders
orders.PRELOAD.clear()
sys.exit(main(sys.argv[1:]))
"""
RUNBOOK = [sys.executable, "-c", SMALL]


def write_book(path: Path, *cells: str, parameters: str = "") -> Path:
    """Write a notebook: texts that begin with # are prose, all others code."""
    book = [v4.new_markdown_cell(c) if c.startswith("#") else v4.new_code_cell(c) for c in cells]
    if parameters:
        book.insert(0, v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    path.parent.mkdir(exist_ok=True)
    nbformat.write(v4.new_notebook(cells=book), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def small_kernels() -> Iterator[None]:
    """Have kernels import what a notebook asks for and no more: these small ones need little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "PRELOAD", [])
        yield


@pytest.fixture(scope="session")
def book() -> Book:
    return write_book


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    return tmp_path / "notebooks"


@pytest.fixture
def at(notebooks: Path, tmp_path: Path) -> list[str]:
    """Options for runs of the test's own notebooks, in its own folder."""
    return ["--notebooks", str(notebooks), "--runs", str(tmp_path / "runs")]
