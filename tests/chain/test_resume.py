import shutil

import nbformat
import pytest

from lib.chain import params, resume, values
from lib.commands.main import main
from lib.record import ledger
from lib.report import past

CELL = 'name: str = "x"  # a name\nsize: int = 3  # a size'


@pytest.fixture(scope="module")
def base(book, tmp_path_factory):
    """A folder with a run whose second stage of three failed, and with its notebooks."""
    folder = tmp_path_factory.mktemp("base")
    book(folder / "n/10-one.ipynb", "print(name, size)", parameters=CELL)
    book(folder / "n/20-two.ipynb", "1", "1 / (size - 5)", "2", parameters=CELL)
    book(folder / "n/30-three.ipynb", "3")
    (folder / "mine.yaml").write_text("name: '22:22'\n")
    words = ["-p", "size=5", "--reason", "a ticket", "--notebooks", str(folder / "n")]
    assert main(["run", str(folder / "mine.yaml"), *words, "--runs", str(folder / "runs")]) == 1
    return folder


@pytest.fixture
def broken(base, notebooks, tmp_path):
    """A copy of that run; its notebooks are copied, too."""
    shutil.copytree(base / "runs", tmp_path / "runs")
    shutil.copytree(base / "n", notebooks)
    return next(path for path in (tmp_path / "runs").iterdir() if path.is_dir())


def outcomes(folder):
    books = {path.stem: nbformat.read(path, 4) for path in sorted(folder.glob("*.ipynb"))}
    return {name: book.metadata.runbook["outcome"] for name, book in books.items()}


def resumed(folder):
    at = ["--notebooks", str(folder.parent.parent / "notebooks"), "--runs", str(folder.parent)]
    return main(["resume", folder.name, *at])


def test_a_failed_run_is_resumed_in_its_folder_until_it_ends_well(book, notebooks, broken, capsys):
    kept = [(broken / name).read_text() for name in ("params.yaml", ledger.FILE)]
    assert resumed(broken) == 1  # the cause was not fixed
    book(notebooks / "20-two.ipynb", "print(name, size)", parameters=CELL)
    assert resumed(broken) == 0
    assert "Done: 3 of 3 stages ok" in capsys.readouterr().out
    assert outcomes(broken) == {
        **dict.fromkeys(["10-one", "10-one.attempt1", "10-one.attempt2"], "ok"),
        **dict.fromkeys(["20-two.attempt1", "20-two.attempt2"], "failed"),
        **dict.fromkeys(["20-two", "30-three"], "ok"),
    }
    assert "22:22 5" in str(nbformat.read(broken / "20-two.ipynb", 4).cells[-1].outputs)
    assert (broken / "params.yaml").read_text() == kept[0]
    assert (broken / ledger.FILE).read_text().startswith(kept[1])
    lines = ledger.read(broken)
    turns = [(ln["event"], ln.get("reason")) for ln in lines if ln["event"].startswith("run-")]
    again = [("run-resumed", "a ticket"), ("run-ended", None)]
    assert turns == [("run-started", "a ticket"), ("run-ended", None), *again, *again]
    assert resumed(broken) == 0
    assert capsys.readouterr().out == f"{broken} ended well: there is nothing to continue.\n"
    assert ledger.attempts(ledger.read(broken)) == {"10-one": 3, "20-two": 3, "30-three": 1}


def test_what_cannot_be_resumed_is_refused_before_anything_starts(notebooks, broken, capsys):
    assert resumed(broken.with_name(broken.name[:-1])) == 2
    assert f"did you mean {broken.name}?" in capsys.readouterr().err
    (notebooks / "20-two.ipynb").unlink()
    assert resumed(broken) == 2
    assert "20-two.ipynb of the run is not there" in capsys.readouterr().err
    assert ledger.attempts(ledger.read(broken)) == {"10-one": 1, "20-two": 1}
    (broken / ledger.FILE).unlink()
    assert resumed(broken) == 2
    assert "there is no ledger (events.jsonl) in it" in capsys.readouterr().err


def test_stages_time_limit_and_reason_are_those_of_the_run_if_not_given(broken):
    work = resume.work(broken)
    assert [stage.name for stage in work.stages] == ["10-one", "20-two", "30-three"]
    assert (work.resumed, work.reason, work.cell_timeout) == (True, "a ticket", None)
    work = resume.work(broken, reason="another", cell_timeout=3)
    assert (work.reason, work.cell_timeout) == ("another", 3)


@pytest.mark.parametrize(
    "text", ["22:22", "no", "1e5", "012", "", "a: b # c", "2026-11-23", "'", "null", "é\u2028", "~"]
)
def test_a_text_comes_back_from_the_folder_as_it_was(tmp_path, text):
    table = {"name": params.Parameter("name", "str", "x", "", ("10-one",))}
    written = values.as_yaml({"name": values.Value(text, "command line")})
    (tmp_path / "params.yaml").write_text(written, encoding="utf-8")
    assert values.load(table, [tmp_path / "params.yaml"])["name"].value == text


PARAMETER = 'word: str = "a"  # what is printed'


def test_a_scheduler_runs_one_stage_after_another_in_one_record(book, notebooks, tmp_path, capsys):
    for name in ("10-one", "20-two"):
        book(notebooks / f"{name}.ipynb", "# A title", "print(word)", parameters=PARAMETER)
    runs = tmp_path / "runs"
    at = ["--notebooks", str(notebooks), "--runs", str(runs), "--run", "20260304-050607-web"]
    assert main(["run", *at, "--stages", "10"]) == 0
    assert main(["run", *at, "--stages", "20", "-p", "word=b"]) == 2
    assert "word: " in (output := capsys.readouterr().err) and "was begun with 'a'" in output
    assert main(["run", *at, "--stages", "20"]) == 0
    (folder,) = [f for f in runs.iterdir() if f.is_dir()]
    ends = [(attempt.stage, attempt.cause) for attempt in past.read(folder).stages]
    assert ends == [("10-one", "ok"), ("20-two", "ok")]
    assert main(["verify", "--runs", str(runs)]) == 0
    assert main(["run", *at[:-1], "web", "--stages", "10"]) == 2
    assert "expected YYYYMMDD-HHMMSS-name" in capsys.readouterr().err


@pytest.mark.parametrize("left", [[], ["events.jsonl"], ["events.jsonl", "params.yaml"]])
def test_a_named_run_that_never_began_is_begun_anew(book, notebooks, tmp_path, left):
    book(notebooks / "10-one.ipynb", "# A title", "print(word)", parameters=PARAMETER)
    folder = tmp_path / "runs" / "20260304-050607-web"
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).touch()
    at = ["--notebooks", str(notebooks), "--runs", str(folder.parent)]
    assert main(["run", *at, "--run", folder.name]) == 0
    assert "word: a" in (folder / "params.yaml").read_text()
    assert main(["verify", "--runs", str(folder.parent)]) == 0
