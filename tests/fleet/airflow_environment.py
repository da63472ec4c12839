"""Make what `test_airflow.py` needs: `python3 tests/fleet/airflow_environment.py`."""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".airflow"


def make(folder: Path) -> None:
    """Create the environment again."""
    venv.create(folder, clear=True, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-r", ROOT / "requirements-airflow.txt"], check=True)


if __name__ == "__main__":
    make(FOLDER)
    print(f"made {FOLDER}", file=sys.stderr)
