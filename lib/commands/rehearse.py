"""Commands that rehearse a run on a copy of one's own cloud: survey and rehearse."""

import os
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lib.commands.options import option
from lib.commands.orders import Order, chooses, order_of
from lib.commands.running import carry_out
from lib.record import whole
from lib.record.faults import BadInput

SCALE = 0.005
HEAD = (
    "# A copy of the cloud of profile {}, without keys: `runbook rehearse FILE --from` this file.\n"
)


@click.command()
@chooses
def survey(given: tuple[str, ...], **what: Any) -> None:
    """Print what the cloud has, as a seed to rehearse on.

    Asks the cloud that FILE names only questions. Holds names, sizes and limits, and no keys.
    """
    print(_surveyed(order_of(given=(*given, "mode=plan"), **what)), end="")


@click.command()
@chooses
@option("--from seed", "FILE", "A survey that was saved; the cloud is not asked then.")
def rehearse(given: tuple[str, ...], seed: Path | None, **what: Any) -> int:
    """Carry out FILE on a copy of its own cloud, which is asked only questions.

    The copy is a local cloud of its own, begun anew, with the zones, networks, offerings,
    templates, workstation and limits of the real one: a name that is not there or a quota that is
    used up show before money is spent.
    """
    from lib.localcloud import background

    order = order_of(given=(*given, "mode=plan"), **what)
    text = _saved(seed) if seed else _surveyed(order)
    dialect = _dialect(text, seed)
    profile = str(order.values["profile"].value)
    copies = background.base(None) / "rehearsals"
    base = copies / "".join(c if c.isalnum() else "-" for c in profile)
    whole.write(whole.folder(base) / "seed.yaml", text)
    os.environ["RUNBOOK_LOCALCLOUD"] = str(base)
    _local_cloud("reset", dialect)
    code, ended = carry_out(_copied(order, base / "seed.yaml", dialect))
    _local_cloud("stop", dialect)
    print(_expected(order, ended.folder))
    if code:
        print("Nothing was changed at your cloud. Correct the file, then rehearse it again.")
    return code


def _saved(seed: Path) -> str:
    try:
        return whole.text(seed, pipe=True, most=10 * whole.LARGEST)
    except UnicodeDecodeError:
        raise BadInput([f"{seed}: is not UTF-8 text"]) from None
    except (OSError, ValueError) as error:
        raise BadInput([f"{seed}: {getattr(error, 'strerror', '') or error}"]) from None


def _expected(order: Order, folder: Path) -> str:
    """Say how long the jobs of a rehearsal take at its own cloud, by the earlier runs there."""
    from lib.chain import history
    from lib.report import past
    from lib.waiting import span

    profile = order.values["profile"].value
    known = history.expected(past.folders(order.runs), profile)
    counts = Counter(c for c, *_ in history.durations(past.lines(folder / "journal.jsonl", [])))
    lines = [
        f"  {command}: {f'{count} times ' if count > 1 else ''}{span(known[command]['seconds'])}"
        for command, count in counts.items()
        if command in known
    ]
    if not lines:
        return f"How long this takes at {profile} is not known: no run there has changed anything."
    return "\n".join([f"At {profile} these jobs took, in the median of earlier runs:", *lines])


def _dialect(text: str, file: Path | None) -> str:
    """Return the dialect of a seed. Raises BadInput for a text that is none."""
    try:
        return str(whole.from_yaml(text).get("dialect", "4.22"))
    except (ValueError, AttributeError):
        raise BadInput(
            [f"{file}: expected a seed in YAML, as `runbook survey` prints it"]
        ) from None


def _local_cloud(verb: str, dialect: str) -> None:
    """Reset or stop the copy, silently."""
    from lib.localcloud.__main__ import main

    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        main([verb, "--dialect", dialect])


def _surveyed(order: Order) -> str:
    import yaml

    from lib import profiles
    from lib.cloud import Cloud
    from lib.ours import Ours
    from lib.survey import seed

    held = {name: order.values[name].value for name in ("profile", "project", "workstation")}
    # Not `connect`, which settles what earlier runs left open: a survey only asks.
    cloud = Cloud(profiles.read(held["profile"]), project=held["project"])
    names = [str(order.values[n].value) for n in ("zone", "cluster_name", "volume_name")]
    ours = Ours(cloud, *names[:2], volume_name=names[2]).with_roles(order.values["roles"].value)

    def is_own(row: dict) -> bool:
        return ours.has_tags(row) and (bool(ours.of_ours([row])) or row["name"] == ours.volume_name)

    found = seed.of(cloud, held["workstation"], is_own)
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120)
    return HEAD.format(held["profile"]) + text


def _copied(order: Order, seed: Path, dialect: str) -> Order:
    """Return the order for the copy: its profile and workstation, and the mode that applies."""
    project = order.values["project"].value
    options = f"dialect={dialect}&time_scale={SCALE}&seed={seed}"
    options += f"&project={project}" if project else ""
    changed = {"profile": f"local?{options}", "mode": "apply", "workstation_ssh": ""}
    changed["installer_sha256"] = ""  # of the stand-in nobody can know it
    if order.values["discovery"].value != "static":
        changed["discovery"] = "local"
    values = {n: replace(order.values[n], value=v, origin="rehearsal") for n, v in changed.items()}
    how = order.how | {"reason": order.how["reason"] or "a rehearsal on a copy of the cloud"}
    return replace(order, values=order.values | values, how=how)
