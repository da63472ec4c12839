"""The report on paper: a PDF with page numbers in its contents, printed by an installed Chromium.

No browser tells a page on which sheet a link ends (Chromium lacks `target-counter` of CSS). So it
prints twice: what the first PDF tells of its links goes into the contents of the second.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lib.record.faults import BadInput

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120  # seconds
SUFFIX = ".pdf"
STYLE = "display:inline-block;width:2.6em;padding-left:.6em;color:#555;font-size:.85em"
NO_BROWSER = "there is no Chromium here to print with: open report.html in a browser and print it"


def write(page: Path, to: Path) -> Path:
    """Print a report to a PDF file; raise BadInput where no browser can."""
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = _printed(_numbered(text, {}), folder)
        data = _printed(_numbered(text, sheets(first)), folder)
    to.write_bytes(data)
    return to


def _numbered(html: str, numbers: Mapping[str, int]) -> str:
    """Return the page with the number of a sheet in each link of its contents, or room for it."""

    def numbered(link: re.Match) -> str:
        word = f"p. {numbers[link[2]]}" if link[2] in numbers else ""
        return f'{link[1]}<span style="{STYLE}">{word}</span></a>'

    head, contents, rest = re.split("(<nav>.*?</nav>)", html, maxsplit=1, flags=re.S)
    link = re.compile('(<a href="#([^"]+)".*?)</a>', re.S)
    return head + link.sub(numbered, contents) + rest


def sheets(pdf: bytes) -> dict[str, int]:
    """Return the number of the sheet on which each anchor stands, as Chromium (Skia) writes it.

    >>> sheets(b"5 0 obj <</Type /Page>> 7 0 obj <</Type /Page>> /seal [7 0 R /XYZ 0 4 0]")
    {'seal': 2}
    """
    pages = [int(n) for n in re.findall(rb"(\d+) 0 obj\s*<</Type /Page\b(?!s)", pdf)]
    order = {number: n for n, number in enumerate(sorted(pages), 1)}
    found = re.findall(rb"/(\S+) \[(\d+) 0 R /XYZ", pdf)
    return {name.decode(): order[int(page)] for name, page in found if int(page) in order}


def _printed(html: str, folder: Path) -> bytes:
    """Print a page in a folder of its own, with a browser that may reach nothing else."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise BadInput([NO_BROWSER])
    page, pdf = folder / "report.html", folder / "report.pdf"
    page.write_text(html, "utf-8")
    words = ["--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder}/browser"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", "--no-pdf-header-footer"]
    words += ["--no-sandbox"] if os.geteuid() == 0 else []  # else Chromium refuses to run as root
    command = [browser, *words, f"--print-to-pdf={pdf}", page.as_uri()]
    try:
        subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
        return pdf.read_bytes()
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInput([f"{browser} could not print the report: {error!s:.300}"]) from error
