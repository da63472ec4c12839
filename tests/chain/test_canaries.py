"""Secrets planted in every kind of output of real kernels, then searched in the whole record."""

import base64
import json
import secrets
from types import SimpleNamespace
from urllib.parse import quote

import nbformat
import pytest

from lib.chain import params, run, stages, values, verify
from lib.record import manifest

# Random, so that no run can have them in it for another reason.
KEY, TOKEN = secrets.token_urlsafe(48) + "+/=", secrets.token_hex(16)
# A notebook's source is part of its record, so no canary may stand in it.
KNOW = """
import base64, json, sys
from pathlib import Path
from lib.record import masks
key, token = json.loads(Path("canaries.json").read_text())
for canary in (key, token):
    masks.add(canary)
"""
OUTPUTS = {
    "prints": "print(key); print('at', token, file=sys.stderr)",
    "a value": "dict(key=key, raw=key.encode())",
    "a table": "import pandas as pd; pd.DataFrame({token: [key]})",
    "encoded": "print(base64.b64encode(f'user:{key}'.encode()).decode(), json.dumps([token]))",
    "updates": (
        "from IPython.display import HTML, display\n"
        "shown = display(HTML(f'<b>{token}</b>'), display_id=True)\n"
        "shown.update(HTML(f'<i>{token}</i>'))"
    ),
    "a widget": (
        "from comm import create_comm\n"
        "model = dict(_model_name='T', _model_module='m', _model_module_version='1')\n"
        "state = model | dict(value=key, description=token)\n"
        "widget = create_comm(target_name='jupyter.widget', data={'state': state})\n"
        "widget.send(data={'method': 'update', 'state': {'value': token}})"
    ),
    "wrapped": "print(base64.encodebytes(b'x' * 50 + token.encode()).decode(), end='')",
}
FAILING = (
    "import requests\n"
    "def ask(url):\n"
    "    return requests.get(url, params={'apikey': key, 'signature': key}, timeout=5)\n"
    "ask(f'http://127.0.0.1:1/{token}/client')"
)


@pytest.fixture(scope="module")
def recorded(book, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Return a run whose stages print canaries; the second fails, showing them in a traceback."""
    base = tmp_path_factory.mktemp("canaries")
    book(base / "n" / "10-print.ipynb", KNOW, *OUTPUTS.values())
    book(base / "n" / "20-fail.ipynb", KNOW, FAILING)
    (base / "n" / "canaries.json").write_text(json.dumps([KEY, TOKEN]))
    table, events = params.gather(base / "n"), []
    chosen = stages.find(base / "n")
    ended = run.run(chosen, table, values.load(table), runs=base / "runs", tell=events.append)
    return SimpleNamespace(run=ended, folder=ended.folder, events=events)


def test_no_file_of_the_record_holds_a_secret_in_any_form(recorded):
    files = manifest.content(recorded.folder).values()
    assert {"10-print.ipynb", "20-fail.ipynb", "events.jsonl", "report.html"} <= {
        path.name for path in files
    }
    for path in files:
        text = path.read_text("utf-8", "replace").lower()
        for form in (form for secret in (KEY, TOKEN) for form in written(secret)):
            assert form.lower() not in text, f"{path.name} holds a secret"


def written(secret: str) -> list[str]:
    """Return pieces of a secret, too long for chance, as other code than ours writes them."""
    inside = base64.b64encode(f"user:{secret}".encode())[8:36].decode()
    return [secret, secret[:20], secret[4:24], quote(secret, safe=""), inside]


def test_every_output_is_still_there_with_its_secrets_masked(recorded):
    book = nbformat.read(recorded.folder / "10-print.ipynb", 4)
    cells = book.cells[1:]
    for name, cell in zip(OUTPUTS, cells, strict=True):
        if name != "a widget":
            assert "***" in json.dumps(cell.outputs), name
    assert '"value": "***"' in json.dumps(book.metadata.widgets)
    shown = json.dumps(cells[list(OUTPUTS).index("updates")].outputs)
    assert "<i>***</i>" in shown
    for path in recorded.folder.glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, 4))
    assert verify.verify(recorded.folder) == [] and recorded.run.leaks == []


def test_a_failing_request_is_shown_without_the_secrets_in_its_url(recorded):
    result = recorded.run.results[1]
    assert result.outcome == "failed"
    assert "ConnectionError" in result.error
    assert "/***/client" in result.error
    assert KEY not in result.error
    assert TOKEN not in str(recorded.events)
