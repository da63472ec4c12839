"""Everything that a cell writes is in its record, however much it is and however fast it comes."""

import time
from itertools import count

import nbformat
import pytest

from lib.chain.engine import Client
from lib.commands.main import main

LINES = 6_000  # ZeroMQ drops what is more than 1,000 messages ahead, unless it is told not to
MANY = f"""
from lib.record import masks
secret = masks.add("-".join(["a", "secret", "of", "this", "run"]))
for number in range({LINES}):
    print(number, secret if number == {LINES // 2} else "", flush=True)
"""
BOTH = """
import sys
for number in range(3):
    print("out", number, flush=True)
    print("out", number, flush=True)
    print("err", number, file=sys.stderr, flush=True)
"""
CLEARED = """
from IPython.display import clear_output
print("first", flush=True)
clear_output(wait=True)
print("second", flush=True)
print("third", flush=True)
"""


@pytest.fixture(scope="module")
def written(book, tmp_path_factory):
    """Return what each cell writes to a slow driver: (stream, text) of each output."""
    base, number, read = tmp_path_factory.mktemp("output"), count(), Client.process_message

    def pausing(*args: object, **options: object) -> object:
        if next(number) == 10:
            time.sleep(2)  # the kernel goes on writing meanwhile
        return read(*args, **options)

    book(base / "n/10-one.ipynb", MANY, BOTH, CLEARED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "process_message", pausing)
        assert main(["run", "--notebooks", str(base / "n"), "--runs", str(base / "runs")]) == 0
    (record,) = (base / "runs").glob("*/10-one.ipynb")
    cells = nbformat.read(record, as_version=4).cells
    return [[(o.get("name", ""), o.get("text", "")) for o in cell.outputs] for cell in cells]


def test_a_cell_that_writes_faster_than_its_driver_reads_is_recorded_completely(written):
    expected = [f"{number} " for number in range(LINES)]
    expected[LINES // 2] += "***"
    assert "".join(text for _, text in written[0]).splitlines() == expected
    assert len(written[0]) < 10


def test_the_order_of_two_streams_is_kept(written):
    both = (("stdout", "out {0}\nout {0}\n"), ("stderr", "err {0}\n"))
    assert written[1] == [(name, text.format(n)) for n in range(3) for name, text in both]


def test_output_that_a_cell_clears_is_not_recorded(written):
    assert written[2] == [("stdout", "second\nthird\n")]
