"""Cells of a notebook: what stands above them."""

from collections.abc import Iterable, Mapping


def headings(cells: Iterable[Mapping]) -> list[str]:
    """Return the heading above each cell, "" before the first one; its own of a cell of prose.

    >>> headings([{"cell_type": "markdown", "source": "# A"}, {"cell_type": "code", "source": ""}])
    ['A', 'A']
    """
    found, current = [], ""
    for cell in cells:
        lines = "".join(cell["source"]).splitlines() if cell["cell_type"] == "markdown" else []
        current = next((line.lstrip("# ") for line in lines if line.startswith("#")), current)
        found.append(current)
    return found
