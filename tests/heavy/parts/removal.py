"""The removal (90) removes everything, whatever record and files of the workstation hold.

Before it, an installation (30) that goes on with such files of an earlier one ends well or with one
of our errors.
"""

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from harness import Built, build, build_to, inventory, play, running, until
from heavy.judging import Fault, damage, damaged, demand_clean, printed

from lib.errors import RunbookError
from lib.install import detached

INSTALL, DEPLOY, REMOVE = "30-install-coreos", "50-deploy-cluster", "90-remove-cluster"


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Removal"]:
    """Give the part of the fuzz, with an installation that nobody saw end and a cluster."""
    yield Removals(folder)


class Removals:
    """Chooses among the states in which files are damaged."""

    def __init__(self, folder: Path):
        self.after = {n: Removal(folder / n, n) for n in (INSTALL, DEPLOY)}

    def case(self, chance: random.Random) -> dict:
        """Return the last stage that was played, and a case of it."""
        after = chance.choice([*self.after])
        return {"after": after, **self.after[after].case(chance)}

    def attempt(self, case: dict) -> None:
        """Damage files after that stage, and remove everything."""
        self.after[case["after"]].attempt(case)


class Removal:
    """Damages one to three files after a stage, and plays the removal."""

    def __init__(self, folder: Path, after: str):
        self.work = folder / "work"
        self.built = folder / "built"
        self.after = after
        self.made = (_left if after == INSTALL else build)(self.built / "cloud", after)
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
        with self.made.running(self.work / "cloud") as cloud, printed() as output:
            for name, how in case["files"]:
                path = self.work / name
                path.write_bytes(damaged(path.read_bytes(), how))
            errors = [self._played(cloud, INSTALL)] if self.after == INSTALL else []
            errors.append(self._played(cloud, REMOVE))
            if errors[-1]:
                errors.append(self._played(cloud, REMOVE))
            demand_clean(f"{output()}\n{errors}", [cloud.profile.secret])
            left = inventory(cloud)
            self.left = self.left or left
            if errors[-1] or left != self.left:
                raise Fault(f"it is not removed: {errors[-1]} {left}")

    def _played(self, cloud, stage: str) -> str | None:
        try:
            play(cloud, stage, mode="apply")
        except RunbookError as error:
            return str(error)
        return None


def _left(folder: Path, last: str) -> Built:
    """Have the kernel of the last stage die when the installer has ended, before it saw the end."""

    def gone(shell, job: str, *_: object) -> None:
        until(lambda: not detached.is_running(shell, job))
        raise KeyboardInterrupt

    with running(folder) as cloud, contextlib.suppress(KeyboardInterrupt):
        created = build_to(cloud, "20-write-cloud-config")
        with mock.patch("lib.install.detached.follow", gone):
            play(cloud, last)
    return created
