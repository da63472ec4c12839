"""Small real notebooks to run."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

Book = Callable[..., Path]


def write_book(path: Path, *cells: str, parameters: str = "") -> Path:
    """Write a notebook: texts that begin with # are prose, all others code."""
    book = [v4.new_markdown_cell(c) if c.startswith("#") else v4.new_code_cell(c) for c in cells]
    if parameters:
        book.insert(0, v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    path.parent.mkdir(exist_ok=True)
    nbformat.write(v4.new_notebook(cells=book), path)
    return path


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
