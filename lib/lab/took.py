"""How long the jobs of each command took: the newest run against those before it, as a picture."""

from collections.abc import Sequence
from statistics import median

from lib.chain import history
from lib.cloud import Cloud
from lib.record.shown import Shown, rect, row
from lib.report import past
from lib.waiting import span

RUNS = 12  # of which a bar is drawn
HEIGHT, WIDTH = 24, 9  # pixels of a bar
BLOCKS = "▁▂▃▄▅▆▇█"
NONE = "No run with this profile has changed anything yet."


def picture(cloud: Cloud) -> Shown:
    """Return a row for each command with a bar for each run of this profile, the newest last.

    The runs are those beside the one that the notebook belongs to.
    """
    name = cloud.profile.name
    folders = [
        f for f in past.folders(cloud.folder.parent) if past.params(f).get("profile") == name
    ]
    taken: dict[str, list[float]] = {}
    for folder in reversed(folders[:RUNS]):
        for command, (seconds, _) in history.figures(folder).items():
            taken.setdefault(command, []).append(seconds)
    lines = [f"{c:24} {_blocks(s):{RUNS}}  {_in_words(s)}" for c, s in sorted(taken.items())]
    rows = [_row(c, s) for c, s in sorted(taken.items())]
    return Shown(f"<table>{''.join(rows)}</table>" if rows else NONE, "\n".join(lines) or NONE)


def _in_words(seconds: Sequence[float]) -> str:
    """Say the newest figure, and what was usual before.

    >>> _in_words([4.0, 6.0, 5.5]), _in_words([61])
    ('5.5 s, before that 5.0 s in 2 runs', '1m01s')
    """
    *before, last = seconds
    runs = f"{len(before)} run{'s' * (len(before) > 1)}"
    return f"{span(last)}, before that {span(median(before))} in {runs}" if before else span(last)


def _blocks(seconds: Sequence[float]) -> str:
    most = max(seconds) or 1
    return "".join(BLOCKS[round(s / most * (len(BLOCKS) - 1))] for s in seconds)


def _row(command: str, seconds: Sequence[float]) -> str:
    most, last = max(seconds) or 1, len(seconds) - 1
    bars = "".join(_bar(n * WIDTH, s / most, s, n == last) for n, s in enumerate(seconds))
    size = f'width="{RUNS * WIDTH}" height="{HEIGHT}"'
    return row(command, f"<svg {size}>{bars}</svg>", _in_words(seconds))


def _bar(x: int, share: float, seconds: float, is_last: bool) -> str:
    height = max(round(share * HEIGHT), 1)
    place = x, HEIGHT - height, WIDTH - 2, height
    return rect(place, "#2e7bd6" if is_last else "#8c8c8c", span(seconds))
