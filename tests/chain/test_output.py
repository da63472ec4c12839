"""Everything that a cell writes is in its record, however much it is and however fast it comes."""

import nbformat

from lib.__main__ import main

LINES = 30_000


def texts(runs):
    """Return what the last cell of the only run wrote: (stream, text) of each output."""
    (record,) = runs.glob("*/10-one.ipynb")
    outputs = nbformat.read(record, as_version=4).cells[-1].outputs
    return [(output.get("name", ""), output.get("text", "")) for output in outputs]


def run(book, folder, source):
    """Run a cell in a notebook of its own; return the exit code and what it wrote."""
    book(folder / "notebooks/10-one.ipynb", "# A title", source)
    at = ["--notebooks", str(folder / "notebooks"), "--runs", str(folder / "runs")]
    return main(["run", *at]), texts(folder / "runs")


def test_a_cell_that_writes_thirty_thousand_lines_one_by_one_is_recorded_completely(book, tmp_path):
    source = f"""
        from lib.record import masks
        secret = masks.add("-".join(["a", "secret", "of", "this", "run"]))
        for number in range({LINES}):
            print(number, secret if number == {LINES // 2} else "", flush=True)
    """
    code, written = run(book, tmp_path, source)
    lines = "".join(text for _, text in written).splitlines()
    expected = [f"{number} " for number in range(LINES)]
    expected[LINES // 2] += "***"
    assert code == 0
    assert lines == expected
    assert len(written) < 10


def test_the_order_of_two_streams_is_kept(book, tmp_path):
    source = """
        import sys
        for number in range(3):
            print("out", number, flush=True)
            print("out", number, flush=True)
            print("err", number, file=sys.stderr, flush=True)
    """
    code, written = run(book, tmp_path, source)
    both = (("stdout", "out {0}\nout {0}\n"), ("stderr", "err {0}\n"))
    assert code == 0
    assert written == [(name, text.format(n)) for n in range(3) for name, text in both]


def test_output_that_a_cell_clears_is_not_recorded(book, tmp_path):
    source = """
        from IPython.display import clear_output
        print("first", flush=True)
        clear_output(wait=True)
        print("second", flush=True)
        print("third", flush=True)
    """
    assert run(book, tmp_path, source) == (0, [("stdout", "second\nthird\n")])
