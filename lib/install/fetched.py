"""The installer as a file: the one on root's PATH, or one fetched from a URL into the work folder.

It is fetched by the user, as the procedure of 2014 did with wget, and root only runs it.
"""

import shlex

from lib.errors import CheckFailed
from lib.install import images
from lib.install.images import Image
from lib.install.scripts import script
from lib.steps import Step
from lib.workstation import notes
from lib.workstation.files import journalled, workstation
from lib.workstation.shell import Shell, run

ANOTHER, NO_SCRIPT = 77, 78  # exit codes of `fetch.sh`
LOOK = """at=$(command -v {program}) || exit 0
echo "$(sha256sum <"$at" | cut -c1-64) $(date -u -r "$at" +%F) $at" """


def plan_fetch(shell: Shell, image: Image, work_dir: str) -> list[Step]:
    """Return the step that fetches the installer, none if it is there as it was fetched."""
    if not image.installer_url:
        return []
    noted = notes.read(shell, work_dir).get("fetched") or {}
    wanted = image.installer_sha256 or noted.get(image.installer_url, "")
    found = seen(shell, image, work_dir)
    if wanted and found[:1] == [wanted]:
        return []
    why = "it is another one than that of the parameters" if found else "it is not there yet"
    params = {"url": image.installer_url, "sha256": image.installer_sha256, "mode": "0700"}
    return [Step("fetch", params, why, images.program(image, work_dir))]


def fetch(shell: Shell, image: Image, work_dir: str) -> str:
    """Fetch the installer as this user, check and note it; return its checksum in words.

    Raises CheckFailed for another checksum than expected, and for a file that is no script.
    """
    to, url = images.program(image, work_dir), image.installer_url
    words = {"folder": work_dir, "url": url, "to": to, "wanted": image.installer_sha256}
    words = {k: shlex.quote(v) for k, v in words.items()}
    text = script("fetch", **words, another=ANOTHER, no_script=NO_SCRIPT)
    params = {"file": to, "url": url, "sha256": image.installer_sha256}
    with journalled(workstation(shell), "fetch", f"{to} on {shell.name}", params) as ended:
        done = run(shell, text, within=300, ok=(0, ANOTHER, NO_SCRIPT))
        found = done.out.strip()
        if done.rc == ANOTHER:
            step = "Nothing was kept. Is it the file you mean? Correct installer_sha256."
            raise CheckFailed(f"sha256 of {url}", image.installer_sha256, found, step)
        if done.rc == NO_SCRIPT:
            raise CheckFailed(url, "a script (#!)", "another file", "Correct installer_url.")
        notes.update(shell, work_dir, fetched={url: found, "file": to})
        ended["text"] = f"sha256 {found}"
    return ended["text"]


def seen(shell: Shell, image: Image, work_dir: str) -> list[str]:
    """Return sha256, date and path of the installer that will run, [] if there is none."""
    look = LOOK.format(program=shlex.quote(images.program(image, work_dir)))
    done = run(shell, f"sh -c {shlex.quote(look)}", sudo=not image.installer_url)
    return done.out.strip().split(maxsplit=2)


def demand_as_wanted(shell: Shell, image: Image, work_dir: str) -> str:
    """Return path, date and checksum of the installer; raise CheckFailed for another checksum."""
    found, date, path = seen(shell, image, work_dir)
    if image.installer_sha256 not in ("", found):
        step = "Nothing was sent. Set installer_url to fetch the one you mean."
        raise CheckFailed(f"sha256 of {path}", image.installer_sha256, found, step)
    return f"{path} of {date}, sha256 {found}"


def demand_there(shell: Shell, image: Image) -> str:
    """Return where the installer will be fetched from; raise CheckFailed if it is not there."""
    step = "Correct installer_url, or put the installer on root's PATH and leave it empty."
    images.demand_url(shell, image.installer_url, step, sudo=False)
    return f"{image.installer}, which 30 fetches from {image.installer_url}"
