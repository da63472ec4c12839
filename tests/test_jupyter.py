"""Secrets in JupyterLab, as the README starts it, and under plain papermill."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import websocket
from harness import ROOT
from nbformat import read, v4, write

KEPT = "kept+in/a=file-0123456789abcdef"
OTHER = "of-another-profile-0123456789"
CELLS = [
    f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom lib.cloud import connect",
    "cloud = connect('mine')",
    "print('the secret:', cloud.profile.secret)",
    "import pandas as pd; pd.DataFrame({'secret': [cloud.profile.secret]})",
    "from pathlib import Path; print((Path.home() / '.cloudstack.ini').read_text())",
    "raise ValueError(cloud.profile.secret)",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Return a home with two profiles, and the environment of a process that lives there."""
    home = tmp_path_factory.mktemp("home")
    (home / ".cloudstack.ini").touch(0o600)
    (home / ".cloudstack.ini").write_text(
        f"[mine]\nendpoint=http://127.0.0.1:1/\nkey=mine-mine-mine\nsecret={KEPT}\n"
        f"[other]\nendpoint=http://ops:{quote(OTHER)}@127.0.0.1:1/\nkey=k\nsecret=s\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "RUNBOOK"))}
    return home, environment | {
        "HOME": str(home), "JUPYTER_PLATFORM_DIRS": "1", "TMPDIR": str(home),
    }  # fmt: skip


def test_plain_papermill_writes_no_secret(place):
    home, environment = place
    write(v4.new_notebook(cells=[v4.new_code_cell(c) for c in CELLS]), home / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "-k", "python3"]
    more = ["--log-output", "--request-save-on-cell-execute"]
    done = subprocess.run(
        [*command, *more], cwd=home, env=environment, capture_output=True, text=True
    )
    assert "ValueError: ***" in done.stderr
    demand_masked((home / "out.ipynb").read_text())
    demand_masked(done.stdout + done.stderr)


def test_plain_papermill_tells_wrong_parameters_in_a_box(place):
    home, environment = place
    given = "{zone: 5, cluster_sise: 4, patience: 5, volume_size: 12}"
    words = ["00-check-access.ipynb", str(home / "checked.ipynb"), "-y", given]
    command = [sys.executable, "-m", "papermill", *words]
    here = ROOT / "notebooks"
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    box = (
        "✗ BadInput: cluster_sise: there is no such parameter: did you mean cluster_size?\n"
        "zone: YAML reads 5 as the whole number 5: put it in quotes\n\n"
        "Again?  Yes, once they are corrected."
    )
    assert box in done.stderr
    assert "unknown parameter: cluster_sise" in done.stderr and "patience" not in done.stderr
    outputs = [o for c in read(home / "checked.ipynb", 4).cells for o in c.get("outputs", [])]
    error, fold = outputs[-2:]
    assert error.evalue.startswith("cluster_sise: ") and len(error.traceback) == 4
    assert "<details>" in fold.data["text/html"] and "demand" in fold.data["text/plain"]


def demand_masked(text: str) -> None:
    assert KEPT not in text and OTHER not in text
    assert "the secret: ***" in text
    assert text.count("***") >= 5  # printed, in a table, twice in a file, in a traceback


@pytest.fixture(scope="module")
def url(place) -> Iterator[str]:
    """Yield the URL of a server that nothing but the environment's own files configures."""
    home, environment = place
    command = [sys.executable, "-m", "jupyter", "lab", str(home), "--no-browser", "--port=0"]
    options = ["--IdentityProvider.token=t0ken", "--allow-root"]
    log = home / "log"
    with log.open("w") as out:
        process = subprocess.Popen([*command, *options], env=environment, stdout=out, stderr=out)
    try:
        yield _url(home, process, log)
    finally:
        process.terminate()
        process.wait(20)


def _url(home: Path, process: subprocess.Popen, log: Path) -> str:
    for _ in range(600):
        for found in home.rglob("jpserver-*.json"):
            facts = json.loads(found.read_text() or "{}")
            if facts and _answers(facts["url"]):
                return facts["url"]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}api", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_nothing_that_jupyterlab_is_sent_holds_a_secret(url):
    kernel = requests.post(f"{url}api/kernels", params={"token": "t0ken"}).json()
    where = f"{url}api/kernels/{kernel['id']}/channels?token=t0ken".replace("http", "ws", 1)
    socket = websocket.create_connection(where, timeout=60)
    heard = [text for number, code in enumerate(CELLS) for text in execute(socket, number, code)]
    socket.close()
    demand_masked("\n".join(heard))


def execute(socket: websocket.WebSocket, number: int, code: str) -> Iterator[str]:
    """Execute code in the kernel, and yield all that it sends until it is idle and has answered."""
    header = {"msg_id": str(number), "msg_type": "execute_request", "session": "s", "username": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
    socket.send(json.dumps({"header": header | {"version": "5.3"}, "parent_header": {},
                            "metadata": {}, "content": content, "channel": "shell"}))  # fmt: skip
    left = {"idle", "reply"}
    while left:
        text = socket.recv()
        yield text
        message = json.loads(text)
        if message["parent_header"].get("msg_id") == str(number):
            left.discard(message["content"].get("execution_state"))
            left -= {"reply"} if message["msg_type"] == "execute_reply" else set()
