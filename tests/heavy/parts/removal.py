"""The removal (90) removes everything, whatever record and files of the workstation hold."""

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness import build, inventory, play
from heavy.judging import Fault, damage, damaged, demand_clean, printed

from lib.errors import RunbookError

STAGE = "90-remove-cluster"


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Removal"]:
    """Give the part of the fuzz, with a cluster that was just deployed."""
    yield Removal(folder)


class Removal:
    """Damages one to three files, and plays the removal."""

    def __init__(self, folder: Path):
        self.work = folder / "work"
        self.built = folder / "built"
        self.made = build(self.built / "cloud", "50-deploy-cluster")
        home = self.built / "cloud/workstation/home"
        files = [*home.rglob("*"), *(self.built / "run").glob("*.jsonl")]
        own = [p for p in files if p.is_file() and p.stat().st_size]
        self.files = sorted(str(p.relative_to(self.built)) for p in own)
        self.left: dict = {}
        self.attempt({"files": []})  # tells what an undisturbed removal leaves

    def case(self, chance: random.Random) -> dict:
        """Return files and how they are damaged."""
        some = chance.sample(self.files, chance.randint(1, min(3, len(self.files))))
        return {"files": [[name, damage(chance)] for name in some]}

    def attempt(self, case: dict) -> None:
        """Play the removal on a copy; it may stop once, to be started again."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        shutil.copytree(self.built / "run", self.work / "run")
        with self.made.running(self.work / "cloud") as cloud, printed() as said:
            for name, how in case["files"]:
                path = self.work / name
                path.write_bytes(damaged(path.read_bytes(), how))
            errors = []
            while len(errors) < 2 and not (errors and errors[-1] is None):
                errors.append(self._played(cloud))
            demand_clean(f"{said()}\n{errors}", [cloud.profile.secret])
            left = inventory(cloud)
            self.left = self.left or left
            if errors[-1] or left != self.left:
                raise Fault(f"it is not removed: {errors[-1]} {left}")

    def _played(self, cloud) -> str | None:
        try:
            play(cloud, STAGE, mode="apply")
        except RunbookError as error:
            return str(error)
        return None
