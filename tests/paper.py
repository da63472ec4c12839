"""Pages in Debian's Chromium: shown, and printed on paper."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SIZES = {b"594.95996 841.91998": "A4"}  # in points, as Chromium writes them


def browse(folder: Path, *words: str) -> str:
    """Run the browser without a window and return its output; skip the test where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("there is no chromium here")
    # The browser has calls of its own to make; without names they all come to nothing.
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    quiet += [f"--user-data-dir={folder}/chromium", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [browser, *quiet, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def printed(page: Path, folder: Path, *words: str) -> tuple[int, str]:
    """Print a page and return the number of sheets and their size."""
    paper = folder / "paper.pdf"
    browse(folder, *words, "--no-pdf-header-footer", f"--print-to-pdf={paper}", page.as_uri())
    data = paper.read_bytes()
    size = re.findall(rb"/MediaBox\s*\[0 0 ([^\]]*)\]", data)
    return len(re.findall(rb"/Type\s*/Page\b", data)), SIZES.get(size[0], size[0].decode())
