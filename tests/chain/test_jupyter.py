"""A real Jupyter server of this environment, as the README starts it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import websocket
from nbformat import v4

from lib.chain import jupyter

CANARY = "Canary+of/the=jupyter0123456789"
KEPT = "kept-in-a-file-0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Yield URL and folder of a server that nothing but the environment's own files configures."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    (home / ".cloudstack.ini").touch(0o600)
    (home / ".cloudstack.ini").write_text(f"[mine]\nendpoint=http://x\nkey=k\nsecret={KEPT}\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "RUNBOOK"))}
    env |= {"HOME": str(home), "JUPYTER_PLATFORM_DIRS": "1", "TMPDIR": str(home)}
    command = [sys.executable, "-m", "jupyter", "lab", str(folder), "--no-browser", "--port=0"]
    options = ["--IdentityProvider.token=t0ken", "--allow-root"]
    log = home / "log"
    with log.open("w") as out:
        process = subprocess.Popen([*command, *options], env=env, stdout=out, stderr=out)
    try:
        yield _url(home, process, log), folder
    finally:
        process.terminate()
        process.wait(20)
    assert not list(home.glob("runbook-*")), "the file of known secrets was left behind"


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


def save(url: str, name: str, notebook: dict) -> requests.Response:
    body = {"type": "notebook", "format": "json", "content": notebook}
    return requests.put(f"{url}api/contents/{name}", json=body, params={"token": "t0ken"})


def test_a_saved_notebook_holds_no_secret_of_a_profile(server):
    url, folder = server
    output = v4.new_output("stream", text=f"secret = {KEPT}\n")
    book = v4.new_notebook(cells=[v4.new_code_cell("print(it)", outputs=[output])])
    answer = save(url, "kept.ipynb", book)
    assert answer.status_code == 201, answer.text
    written = (folder / "kept.ipynb").read_text()
    assert KEPT not in written
    assert "secret = ***" in written


def test_what_a_kernel_of_the_server_makes_known_is_masked(server):
    url, folder = server
    code = f"from lib import masks; masks.know({CANARY!r})"
    execute(url, code)
    table = v4.new_output("display_data", data={"text/html": f"<td>{CANARY}</td>"})
    book = v4.new_notebook(cells=[v4.new_code_cell("table", outputs=[table])])
    assert save(url, "told.ipynb", book).status_code == 201
    written = (folder / "told.ipynb").read_text()
    assert "<td>***</td>" in written
    assert CANARY not in written


def execute(url: str, code: str) -> None:
    """Run code in a new kernel of the server."""
    kernel = requests.post(f"{url}api/kernels", params={"token": "t0ken"}).json()
    where = f"{url}api/kernels/{kernel['id']}/channels?token=t0ken".replace("http", "ws", 1)
    socket = websocket.create_connection(where, timeout=30)
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
    socket.send(json.dumps({"header": header | {"version": "5.3"}, "parent_header": {},
                            "metadata": {}, "content": content, "channel": "shell"}))  # fmt: skip
    while json.loads(socket.recv())["msg_type"] != "execute_reply":
        pass
    socket.close()


def test_a_notebook_that_cannot_be_looked_at_is_not_saved(monkeypatch):
    monkeypatch.setattr(jupyter, "_redactors", [])
    model = {"type": "notebook", "content": v4.new_notebook()}
    with pytest.raises(jupyter.HTTPError, match="was not saved"):
        jupyter.before_saving(model=model, path="a.ipynb")


def test_other_files_are_saved_as_they_are(monkeypatch):
    monkeypatch.setattr(jupyter, "_redactors", [])
    jupyter.before_saving(model={"type": "file", "content": CANARY}, path="a.txt")
    jupyter.before_saving(model={"type": "directory"}, path="folder")
