"""Tries the cases of all parts of the fuzz in turn, and tells which found a fault."""

import importlib
import json
import random
import re
import signal
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from heavy.judging import Fault, printed

SEEDS = json.loads((Path(__file__).parent / "seeds.json").read_text())
HANG = 60  # seconds, of which a case on a busy machine takes two or three
MOST = 20  # faults of a part that are printed


class Hang(BaseException):
    """A case takes too long. It is no Exception, so that nothing under test handles it."""


@dataclass
class Tried:
    """A part, and how many of its cases found which fault."""

    name: str
    part: object
    cases: int = 0
    seconds: float = 0
    faults: Counter = field(default_factory=Counter)


def all_parts(names: list[str], folder: Path, seconds: float, seed: int) -> list[Tried]:
    """Try the stored cases of each part, then new ones, each part as long as the others."""
    signal.signal(signal.SIGALRM, _hang)
    with ExitStack() as stack:
        tried = []
        for name in names:
            module = importlib.import_module(f"heavy.parts.{name}")
            (folder / name).mkdir()
            with printed():
                one = stack.enter_context(module.part(folder / name))
            tried.append(Tried(name, one))
        for one in tried:
            for case in SEEDS.get(one.name, []):
                _try(one, case)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            one = min(tried, key=lambda t: t.seconds)
            _try(one, one.part.case(random.Random(f"{seed}/{one.name}/{one.cases}")))
        return tried


def _try(one: Tried, case: dict) -> None:
    started = time.monotonic()
    signal.alarm(HANG)
    try:
        one.part.attempt(case)
    except Fault as fault:
        _found(one, case, str(fault))
    except (Exception, Hang, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        _found(one, case, f"{type(error).__name__} in {where.name}: {error}"[:500], error)
    finally:
        signal.alarm(0)
        one.cases += 1
        one.seconds += time.monotonic() - started


def _found(one: Tried, case: dict, fault: str, error: BaseException | None = None) -> None:
    """Count a fault; the first of its kind is printed with its case."""
    kind = re.sub(r"[0-9a-f-]*\d[0-9a-f-]*|'[^']*'", "…", fault)[:120]
    one.faults[kind] += 1
    if one.faults[kind] == 1 and len(one.faults) <= MOST:
        print(f"BAD {one.name}: {fault}\n    case: {json.dumps(case)[:2000]}", flush=True)
        if error:
            print("    " + "".join(traceback.format_tb(error.__traceback__)[-4:]), flush=True)


def _hang(*_: object) -> None:
    raise Hang(f"more than {HANG} seconds")


def table(tried: list[Tried]) -> str:
    """Return the table: cases and faults of each part."""
    lines = [f"{'part':12}{'cases':>10}{'seconds':>10}{'faults':>10}"]
    for one in tried:
        lines.append(f"{one.name:12}{one.cases:10}{one.seconds:10.0f}{sum(one.faults.values()):10}")
    return "\n".join(lines)
