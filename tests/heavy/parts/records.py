"""Files of runs: damage is reported, ends no command, and is never taken for a sealed record."""

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
from heavy.judging import Fault, damage, damaged, demand_clean, ran
from nbformat import v4

SECRET = "Zk9-secret-of-the-profile-77"
# Writes what stages write, through the functions of the record.
CELL = """
from lib.record import facts, journal, requests
book = journal.Journal(journal.run_folder(), "here")
book.accepted(book.intend("createVolume", "disk", {"name": "disk"}, None), "j1")
facts.add(endpoint="here")
requests.Request(journal.run_folder(), "listZones", {}).ended(200, {}, 10)
"""
PARAMETERS = 'profile: str = "local"  # a cloud\nsize: int = 3  # GB'
UNSEALED = ("index.html", ".runs.json", "seals.log")
RESUMES = 20  # one case in so many is resumed, as that starts a kernel


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Records"]:
    """Give the part of the fuzz, with a run that failed and one that ended well."""
    cells = [v4.new_code_cell(CELL), v4.new_code_cell("1 / (size - 3)")]
    cells.insert(0, v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
    (folder / "notebooks").mkdir()
    nbformat.write(v4.new_notebook(cells=cells), folder / "notebooks/10-one.ipynb")
    at = ["--notebooks", str(folder / "notebooks"), "--runs", str(folder / "built")]
    codes = [ran("run", *at)[0], ran("run", "-p", "size=4", *at)[0]]
    if codes != [1, 0]:
        raise Fault(f"the runs ended with {codes}")
    yield Records(folder)


class Records:
    """Damages one file of a run, or the log of seals, and has all commands read it."""

    def __init__(self, folder: Path):
        self.built, self.runs = folder / "built", folder / "runs"
        self.draft = folder / "draft.html"
        self.names = sorted(p.name for p in self.built.iterdir() if p.is_dir())
        files = [p for p in self.built.rglob("*") if p.is_file()]
        self.files = sorted(str(p.relative_to(self.built)) for p in files)
        self.turn = {name: f"run {n}" for n, name in enumerate(self.names)}

    def case(self, chance: random.Random) -> dict:
        """Return a file by its place, how it is damaged, and whether the run is resumed."""
        place = self.place(chance.choice(self.files))
        return {"place": place, "how": damage(chance), "resume": chance.randrange(RESUMES) == 0}

    def place(self, name: str) -> list:
        """Return the number of a file's run, -1 for one beside them, and its name there."""
        path = Path(name)
        return [self.names.index(path.parts[0]) if len(path.parts) > 1 else -1, path.name]

    def attempt(self, case: dict) -> None:
        """Damage a copy, and run the commands."""
        shutil.rmtree(self.runs, ignore_errors=True)
        shutil.copytree(self.built, self.runs)
        number, name = case["place"]
        path = (self.runs / self.names[number] if number >= 0 else self.runs) / name
        before = path.read_bytes()
        after = damaged(before, case["how"])
        path.write_bytes(after)
        at = ["--runs", str(self.runs)]
        code = self._run("verify", *at)
        # A log that lost its last line end still holds each of its lines.
        same = name in UNSEALED[:2] or after == before or (number < 0 and after == before[:-1])
        if not same and code != 6:
            raise Fault(f"verify ended with {code}, though {name} is not as it was sealed")
        for words in (
            ["list"],
            ["diff", *self.names],
            ["report", self.names[number], "--to", str(self.draft)],
        ):
            if code := self._run(*words, *at):
                raise Fault(f"{words[0]} ended with {code}, though only {name} is damaged")
        self._run("list", "--json", *at)
        if case["resume"]:
            code = self._run("resume", self.names[max(number, 0)], *at)
            if code not in (0, 1, 2):
                raise Fault(f"resume ended with {code}")

    def _run(self, *words: str) -> int:
        code, output = ran(*words)
        demand_clean(output, [SECRET])
        return code
