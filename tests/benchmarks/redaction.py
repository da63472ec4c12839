"""Redaction: 20 MB of outputs, masked as a kernel does and sealed while 20 secrets are known.

Streams, a table and an image in equal parts, as they come, with every secret somewhere in them.
Best of a few times, in seconds of the processor: it is work of one thread, and what else the
machine does is not its doing.
"""

import base64
import random
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import nbformat
from benchmarks.report import Line
from nbformat import v4

from lib.chain import seal
from lib.record import masks

WANTED = 20e6  # bytes a second
SIZE = 20_000_000
LINE = "2026-11-23T20:00:00 snapshot of volume coreos_cluster_disk: job 4711 runs since {} s\n"
ROW = "    <tr><td>coreos-cluster-{}</td><td>Running</td><td>10.1.0.7</td></tr>\n"


def measure(times: int = 5) -> list[Line]:
    """Compare the seconds that masking, and masking and sealing, take with what 20 MB/s leave."""
    pairs = [_once(random.Random(number)) for number in range(times)]
    masked, both = (min(seconds) for seconds in zip(*pairs, strict=True))
    allowed = SIZE / WANTED
    return [
        Line("20 MB masked, against 20 MB/s", "CPU s", masked, allowed),
        Line("20 MB masked and sealed, against 20 MB/s", "CPU s", both, allowed, 1),
    ]


def _once(chance: random.Random) -> tuple[float, float]:
    """Return the seconds to mask the notebook, and these with the ones to seal its folder."""
    known_values = [base64.b64encode(chance.randbytes(20)).decode() for _ in range(16)]
    known_values += [chance.randbytes(43).hex() for _ in range(4)]
    book = notebook(chance, known_values)
    with tempfile.TemporaryDirectory() as runs, patch.object(masks, "_known", {}):
        folder = Path(runs) / "run"
        folder.mkdir()
        began = time.process_time()
        for value in known_values:
            masks.add(value)
        book = nbformat.from_dict(masks.masked(book))
        masking = time.process_time() - began
        nbformat.write(book, folder / "10-a.ipynb")
        began = time.process_time()
        _sealed(folder, known_values)
        sealing = time.process_time() - began
    return masking, masking + sealing


def _sealed(folder: Path, secrets: list[str]) -> None:
    if seal.seal(folder, secrets):
        raise AssertionError("a secret was left in the notebook")


def notebook(chance: random.Random, secrets: list[str]) -> nbformat.NotebookNode:
    """Return a notebook whose outputs take SIZE bytes, with all the secrets among them."""
    part = SIZE // 3
    lines = [LINE.format(n) for n in range(part // len(LINE))]
    rows = [ROW.format(n) for n in range(part // len(ROW))]
    for secret in secrets:
        chance.choice([lines, rows])[chance.randrange(1000)] += f"{secret}\n"
    image = base64.b64encode(chance.randbytes(part * 3 // 4)).decode()
    outputs = [
        v4.new_output("stream", name="stdout", text="".join(lines)),
        v4.new_output("display_data", data={"text/html": f"<table>\n{''.join(rows)}</table>"}),
        v4.new_output("display_data", data={"image/png": image}),
    ]
    return v4.new_notebook(cells=[v4.new_code_cell("work()", outputs=outputs)])
