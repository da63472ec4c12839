"""Make the README's pictures anew: a recording of the terminal, and the first page of a report.

    python tests/pictures.py

Runs the README's main command in tmux against a local cloud of its own, and writes
`tests/pictures/run.svg` (one frame for each stage that ends) and `tests/pictures/report.png`.
Needs tmux and chromium.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "tests/pictures"
WIDTH, HEIGHT = 132, 46
COMMAND = ".venv/bin/runbook run params/local.yaml"
PROMPT = "$ "
SHOWN = 1.5  # seconds that each frame is shown, the last one LAST times as long
LAST = 4


def tmux(*words: str) -> str:
    """Run a tmux command in a server of our own and return what it prints."""
    done = subprocess.run(
        ["tmux", "-L", "pictures", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def record(folder: Path) -> list[str]:
    """Run the command and return the screen, with its colours, after each stage that ended."""
    variables = {
        "RUNBOOK_LOCALCLOUD": str(folder / "cloud"),
        "RUNBOOK_RUNS": str(folder / "runs"),
        "PS1": PROMPT,
        "TZ": "UTC",
    }
    settings = [word for k, v in variables.items() for word in ("-e", f"{k}={v}")]
    shell = ["bash", "--norc", "--noprofile"]
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    tmux("new-session", "-d", *size, *settings, "-c", str(ROOT), *shell)
    try:
        while PROMPT.strip() not in tmux("capture-pane", "-p"):
            time.sleep(0.1)
        tmux("send-keys", f"{COMMAND} --runs {folder / 'runs'}", "Enter")
        frames: list[str] = []
        ended, screen = "", ""
        while not ended.endswith("\n" + PROMPT.strip()):
            time.sleep(0.2)
            screen = tmux("capture-pane", "-p", "-e").replace(f" --runs {folder / 'runs'}", "")
            screen = screen.replace(f"{folder}/", "")
            ended = re.sub(r"\x1b\[[0-9;]*m", "", screen).rstrip()
            if not frames or ended.count("✓") > frames[-1].count("✓"):
                frames.append(screen)
        return [*frames, screen]
    finally:
        tmux("kill-server")


def drawn(screen: str, name: str, lines: int) -> str:
    """Return one screen of so many lines as an SVG without the web fonts that rich links to."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join((screen.split("\n") + [""] * lines)[:lines])))
    picture = console.export_svg(title=COMMAND, unique_id=name)
    return re.sub(r"@font-face \{.*?\}\n?", "", picture, flags=re.S)


def animated(frames: list[str]) -> str:
    """Return one SVG that shows the frames in turn, for ever."""
    lines = max(len(frame.rstrip().split("\n")) for frame in frames)
    pictures = [drawn(frame, f"f{n}", lines) for n, frame in enumerate(frames)]
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', pictures[0]).groups()
    total = SHOWN * (len(frames) - 1 + LAST)
    rules, shown = [], []
    for n, picture in enumerate(pictures):
        begin = 100 * n * SHOWN / total
        end = 100 if n == len(frames) - 1 else 100 * (n + 1) * SHOWN / total
        hidden = f"0%,{begin:.3f}%{{visibility:hidden}}" if n else ""
        after = f"{end:.3f}%,100%{{visibility:hidden}}" if end < 100 else ""
        rules.append(
            f"@keyframes k{n}{{{hidden}{begin + 0.001:.3f}%,{end - 0.001:.3f}%"
            f"{{visibility:visible}}{after}}}\n#p{n}{{animation:k{n} {total}s infinite step-end}}"
        )
        shown.append(picture.replace("<svg ", f'<svg id="p{n}" ', 1))
    style = "<style>" + "\n".join(rules) + "</style>"
    head = f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">'
    return "\n".join([head, style, *shown, "</svg>"])


def photograph(report: Path, picture: Path) -> None:
    """Take a picture of the first screen of a report."""
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,800"]
    words = ["chromium", *options, f"--screenshot={picture}", report.as_uri()]
    subprocess.run(words, check=True, capture_output=True)


def main() -> None:
    """Make both pictures."""
    os.environ.pop("TMUX", None)
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as base:
        folder = Path(base)
        frames = record(folder)
        (PICTURES / "run.svg").write_text(animated(frames), "utf-8")
        (report,) = (folder / "runs").glob("*/report.html")
        shown = folder / "report.html"
        shown.write_text(report.read_text("utf-8").replace(f"{folder}/", ""), "utf-8")
        photograph(shown, PICTURES / "report.png")
        stop = [Path(sys.executable).parent / "runbook", "local-cloud", "stop"]
        subprocess.run(stop, env=os.environ | {"RUNBOOK_LOCALCLOUD": str(folder / "cloud")})


if __name__ == "__main__":
    main()
