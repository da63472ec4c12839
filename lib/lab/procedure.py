"""Where the procedure stands: the state of each stage, as the cloud shows it, and a picture of it.

Only questions are asked. What lies on the workstation (20, 30) cannot be seen from the cloud, until
a snapshot or a template shows that it was done.
"""

from dataclasses import dataclass
from html import escape

from lib.chain.stages import ON_REQUEST
from lib.cloud import Cloud
from lib.machines import BAD
from lib.ours import Ours

DONE, PARTLY, TO_DO, UNKNOWN = "done", "partly", "to do", "unknown"
MARKS = {DONE: "✓", PARTLY: "◐", TO_DO: "○", UNKNOWN: "-"}
COLOURS = {DONE: "#2e9e5b", PARTLY: "#d08a00", TO_DO: "#7a7a7a", UNKNOWN: "#7a7a7a"}


@dataclass(frozen=True)
class State:
    """The state of a stage: one of MARKS, and a few words on what is there."""

    state: str
    words: str = ""

    def __str__(self) -> str:
        return f"{MARKS[self.state]} {self.words or self.state}"


@dataclass(frozen=True)
class Found:
    """What the cloud has of a cluster; None for what is not there."""

    volume: dict | None
    snapshot: dict | None
    template: dict | None
    machines: dict[str, dict]
    wanted: int  # machines
    template_from: str = "disk"
    beyond: tuple[str, ...] = ()  # further machines of the cluster, which 80 and 90 remove


def look(cloud: Cloud, values: dict) -> Found:
    """Return what the cloud has of the cluster that the parameters describe."""
    ours = (
        Ours(
            cloud,
            values["zone"],
            values["cluster_name"],
            values["revision"],
            values["volume_name"],
            values["template_name"],
            values["template_from"],
        )
        .with_machines(values["cluster_size"], values["first_number"])
        .over(values["zones"])
    )
    volume = ours.volume() if ours.needs_disk else None
    snapshot = ours.snapshot(volume) if ours.needs_disk else None
    machines, wanted = ours.machines(), len(ours.names)
    alive = [r for r in ours.in_zones() if r["state"] not in BAD]
    own = ours.own(ours.of_ours(alive))
    beyond = tuple(r["name"] for r in own if r["name"] not in ours.names)
    return Found(volume, snapshot, ours.template(), machines, wanted, ours.template_from, beyond)


def states(found: Found) -> dict[int, State]:
    """Return the state of each stage by its number."""
    running = [m for m in found.machines.values() if m["state"] == "Running"]
    count = f"{len(running)} of {found.wanted} Running"
    more = ", ".join(found.beyond)
    deployed = DONE if len(running) == found.wanted else PARTLY if found.machines else TO_DO
    looked = DONE if deployed == DONE else TO_DO
    left = _left(found)
    return {
        0: State(DONE, "the cloud answers"),
        **_of_template(found),
        50: State(deployed, f"{count}; more than that: {more}" if more else count),
        60: State(UNKNOWN if looked == DONE else TO_DO, "run it to see"),
        70: State(UNKNOWN, "on request"),
        80: State(UNKNOWN, f"would remove {more}" if more else "on request"),
        90: State(UNKNOWN, f"would remove {left}" if left else "nothing to remove"),
    }


def _of_template(found: Found) -> dict[int, State]:
    """Return the states of the stages that lead to the template."""
    todo, unneeded = State(TO_DO), State(DONE, "not needed")
    if found.template_from != "disk":
        disk = dict.fromkeys((10, 11, 30, 40, 41, 42), unneeded)
        return disk | {20: State(UNKNOWN, "on the workstation"), 43: _ready(found.template)}
    return {43: unneeded} | (_from_disk(found, todo))


def _ready(template: dict | None) -> State:
    if not template:
        return State(TO_DO)
    if template.get("isready"):
        return State(DONE, "template is ready")
    return State(PARTLY, template.get("status") or "template is not ready")


def _from_disk(found: Found, todo: State) -> dict[int, State]:
    """Return the states of the stages that make the template of a disk."""
    if found.template:
        earlier = State(DONE, "template exists")
        return dict.fromkeys((10, 11, 20, 30, 40, 41), earlier) | {42: _ready(found.template)}
    if found.snapshot:
        state = found.snapshot["state"]
        taken = State(DONE if state == "BackedUp" else PARTLY, f"snapshot is {state}")
        return dict.fromkeys((10, 11, 20, 30, 40), State(DONE, "snapshot exists")) | {
            41: taken,
            42: todo,
        }
    if not found.volume:
        return dict.fromkeys((10, 11, 20, 30, 40, 41, 42), todo)
    host = found.volume.get("vmdisplayname") or found.volume.get("vmname")
    attached = State(DONE, f"at {host}") if host else State(UNKNOWN, "volume is detached")
    inside = State(UNKNOWN, "on the workstation")
    size = found.volume["size"] / 2**30
    return {
        10: State(DONE, f"{size:g} GiB, {found.volume['state']}"),
        11: attached,
        20: inside,
        30: inside,
        40: todo if host else attached,
        41: todo,
        42: todo,
    }


def _left(found: Found) -> str:
    """Return what of the cluster a removal would find, "" for nothing."""
    several = len(found.machines) + len(found.beyond)
    parts = [f"{several} machine{'s' * (several > 1)}"] if several else []
    parts += [n for n in ("template", "snapshot", "volume") if getattr(found, n)]
    return ", ".join(parts)


def picture(stages: list[tuple[int, str, str]], known: dict[int, State]) -> str:
    """Return the procedure as HTML: a box for each stage (number, title, link), in its order.

    JupyterLab follows a link in HTML, and fails on one in SVG.
    """
    boxes = "".join(_box(*stage, known.get(stage[0], State(UNKNOWN))) for stage in stages)
    grid = "display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:10px;max-width:1000px"
    return f'<div style="{grid};margin:6px 0">{boxes}</div>'


def _box(number: int, title: str, link: str, state: State) -> str:
    colour, border = COLOURS[state.state], "dashed" if number >= ON_REQUEST else "solid"
    style = (
        f"display:block;border:1.5px {border} {colour};border-left:6px solid {colour};"
        "border-radius:6px;padding:6px 10px;text-decoration:none;color:inherit"
    )
    return (
        f'<a href="{escape(link)}" style="{style}"><b>{escape(title)}</b><br>'
        f'<span style="color:{colour}"><b>{MARKS[state.state]}</b></span> '
        f"{escape(state.words or state.state)}</a>"
    )
