"""Make the folder that `test_ansible.py` needs: `python3 tests/localcloud/ansible_environment.py`.

It holds a virtual environment with ansible-core, and of the `ansible` package, which is 50 MB and
holds all collections, CloudStack's alone: the collections' own server is not among those that a
build can reach everywhere.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".ansible"
PACKAGES = ("ansible-core==2.18.12", "cs==5.2.0", "sshpubkeys==3.3.1")
BUNDLE = "ansible==11.13.0"  # the last one with this collection
COLLECTION = "ansible_collections/ngine_io/cloudstack/"


def make(folder: Path) -> None:
    """Create the folder again."""
    venv.create(folder, clear=True, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *PACKAGES], check=True)
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run([*pip, "download", "--no-deps", "-d", wheels, BUNDLE], check=True)
        [wheel] = Path(wheels).iterdir()
        with zipfile.ZipFile(wheel) as packed:
            ours = [name for name in packed.namelist() if name.startswith(COLLECTION)]
            packed.extractall(folder, ours)


if __name__ == "__main__":
    make(FOLDER)
    print(f"made {FOLDER}", file=sys.stderr)
