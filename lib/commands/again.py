"""The command lines that go on from a run, to be typed again."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lib.record.journal import ROOT
from lib.report.console import invoked


def to_resume(folder: Path) -> str:
    """Return the command that resumes a run."""
    from lib.chain.summary import near

    return shlex.join([*invoked(), "resume", near(folder)])


def to_apply(folder: Path) -> str:
    """Return the command that carries out the plan of a run."""
    from lib.chain.summary import near

    return shlex.join([*invoked(), "apply", near(folder)])


def to_look_at_removal(folder: Path) -> str:
    """Return the command that shows what removing the cluster of a run would do."""
    from lib.chain.summary import near

    words = [*invoked(), "plan", near(folder / "params.yaml"), "--stages", "90"]
    return shlex.join(words + _runs(folder))


def way_on(folder: Path, chosen: Sequence, option: str, verb: str = "run") -> str:
    """Return the command that resumes a run, or with an option one that starts another."""
    from lib.chain import stages
    from lib.chain.summary import near

    if not option:
        return to_resume(folder)
    where = chosen[0].path.parent
    words = [*invoked(), verb, near(folder / "params.yaml"), *option.split()]
    if list(chosen) != stages.choose(stages.find(where)):
        words += ["--stages", ",".join(f"{stage.number:02}" for stage in chosen)]
    if where != ROOT / "notebooks":
        words += ["--notebooks", near(where)]
    return shlex.join(words + _runs(folder))


def _runs(folder: Path) -> list[str]:
    """Return the option that names the folder of the runs, none where it is the usual one."""
    from lib.chain.summary import near

    return ["--runs", near(folder.parent)] if folder.parent != ROOT / "runs" else []
