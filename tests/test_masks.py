"""Registered secrets, which no message of a kernel contains."""

import json
import os
from collections.abc import Callable, Iterator

import pytest
from harness import client
from jupyter_client.manager import start_new_kernel

from lib import config
from lib.config.discovery import TokenUrl
from lib.profiles import Profile
from lib.record import masks
from lib.workstation.shell import write_text


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Return the secrets registered in a test, and remove them afterwards."""
    monkeypatch.setattr(masks, "_known", {})
    return masks._known


def test_a_short_value_is_not_a_secret(known):
    masks.add("")
    masks.add("12345")
    assert masks.add("123456") == "123456"
    assert masks.values() == ["123456"]


def test_keys_and_password_of_a_profile_are_secrets_and_signatures_are_never_written(known, server):
    Profile("p", "http://x", "the-api-key", "the-secret-key", login=("ops", "hunter2-hunter2"))
    assert masks.values() == ["the-api-key", "the-secret-key", "hunter2-hunter2"]
    cloud = client(server)
    before = masks.values()
    signed = cloud.transport._signed("listZones", {})["signature"]
    cloud.call("listZones")
    assert masks.values() == before
    written = [path.read_text("utf-8") for path in cloud.folder.iterdir()]
    assert written and not any(signed in text or "signature" in text for text in written)


def test_the_token_of_a_discovery_url_is_a_secret(known):
    TokenUrl("http://127.0.0.1:1/0123456789abcdef0123456789abcdef")
    assert masks.values() == ["0123456789abcdef0123456789abcdef"]


def test_the_token_in_a_cloud_config_is_a_secret_as_soon_as_it_is_read(known, here):
    text = "discovery: http://127.0.0.1:1/fedcba9876543210fedcba9876543210\n"
    write_text(here, "w/cloud-config.yml", text)
    assert config.read(here, "w").text == text
    assert masks.values() == ["fedcba9876543210fedcba9876543210"]


def test_passwords_and_private_keys_in_answers_are_secrets(known):
    machine = {"virtualmachine": {"name": "m", "password": "pW3x9q", "nic": [{"id": "n"}]}}
    pair = {"keypair": {"privatekey": "-----BEGIN X-----\nMIIabc\n-----END X-----"}}
    for body in (machine, pair, {"list": [{"secretkey": "se-cr-et"}]}, {"zone": [{"id": 1}]}):
        masks.add_from_answer(json.dumps(body), body)
    assert masks.values() == ["pW3x9q", pair["keypair"]["privatekey"], "se-cr-et"]


SECRET = "it's-a-Canary+of/the=kernel0123456789"
Execute = Callable[..., list[dict]]


@pytest.fixture(scope="module")
def execute(tmp_path_factory) -> Iterator[Execute]:
    """Return a function that runs code in a kernel with the secret, and returns its messages."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RUNBOOK")}
    manager, connected = start_new_kernel(
        env=environment, cwd=str(tmp_path_factory.mktemp("kernel"))
    )

    def executed(code: str, **more: object) -> list[dict]:
        messages: list[dict] = []
        # The source of a cell is sent back as it is: no secret may stand in it.
        code = f"import sys, time; secret = {SECRET[::-1]!r}[::-1]\n{code}"
        messages.append(
            connected.execute_interactive(code, output_hook=messages.append, timeout=60, **more)
        )
        return messages

    executed("from lib.record import masks; masks.add(secret)")
    yield executed
    connected.stop_channels()
    manager.shutdown_kernel(now=True)


def printed(messages: list[dict], name: str = "stdout") -> str:
    streams = [m["content"] for m in messages if m["msg_type"] == "stream"]
    return "".join(stream["text"] for stream in streams if stream["name"] == name)


MESSAGES = {
    "stdout": "print('at', secret)",
    "stderr": "print(secret, file=sys.stderr)",
    "value": "secret",
    "display": "from IPython.display import HTML\ndisplay(HTML(f'<b>{secret}</b>'))",
    "update": "shown = display('x', display_id=True); shown.update({'a': [secret]})",
    "table": "import pandas as pd\npd.DataFrame({secret: [secret.encode()]})",
    "error": "raise ValueError(secret)",
    "program": "import shlex\nquoted = shlex.quote(secret)\n!echo {quoted}",
    "buffer": "from comm import create_comm\n"
    "create_comm(target_name='t', data={'a': secret}, buffers=[secret.encode()])",
    "descriptor": "import os, subprocess\nsubprocess.run(['printf', secret + r'\\n'])",
    "thread": "import threading\nthread = threading.Thread(target=print, args=[secret])\n"
    "thread.start(); thread.join()",
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_no_message_of_a_kernel_holds_a_secret(execute, kind):
    messages = execute(MESSAGES[kind])
    sent = repr(messages) + repr([bytes(buffer) for m in messages for buffer in m["buffers"]])
    assert SECRET not in sent and repr(SECRET)[1:-1] not in sent and SECRET[5:] not in sent
    assert "***" in sent or kind == "descriptor"


SPLIT = """
for piece in (secret[:9], secret[9:20], secret[20:]):
    sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.05)
"""


@pytest.mark.parametrize("begin", ["", "one\\ntwo ", "\\r 10%\\r 20% "])
@pytest.mark.parametrize("end", ["", "\\n", " and on\\nmore"])
def test_a_secret_that_is_printed_in_pieces_is_masked(execute, begin, end):
    messages = execute(f"sys.stdout.write('{begin}')\n{SPLIT}\nsys.stdout.write('{end}')")
    texts = [text.replace("\\n", "\n").replace("\\r", "\r") for text in (begin, end)]
    assert printed(messages) == f"{texts[0]}***{texts[1]}"


def test_a_secret_wrapped_over_printed_lines_is_masked(execute):
    code = "sys.stdout.write('a ' + secret[:9] + '\\n' + secret[9:] + ' b'); sys.stdout.flush()"
    assert printed(execute(code)) == "a *** b"


def test_printed_text_stays_complete_and_in_order(execute):
    code = "print('a', end='', flush=True); display(1); print('b', end='', flush=True)\n"
    code += "print('c', end='', file=sys.stderr, flush=True); print('d'); raise ValueError('e')"
    kinds = [
        m["content"].get("text") or m["msg_type"]
        for m in execute(code)
        if m["msg_type"] in ("stream", "display_data", "error")
    ]
    assert kinds == ["a", "display_data", "b", "c", "d\n", "error"]


def test_a_forked_child_neither_hangs_nor_repeats_its_parents_output(execute):
    code = "import os\nprint('once ', end='', flush=True)\nchild = os.fork()\n"
    code += "if not child:\n    print('child', secret, flush=True); os._exit(0)\n"
    code += "_ = os.waitpid(child, 0)"
    text = printed(execute(code))
    assert text.count("once") == 1 and SECRET not in text


def test_objects_of_the_user_are_not_masked_in_place(execute):
    code = "held = {'text/plain': secret, 'n': [1, (2, 3)]}\ndisplay(held, raw=True)\n"
    code += "print(held['text/plain'] == secret, type(held['n'][1]).__name__)"
    assert printed(execute(code)) == "True tuple\n"


def test_outside_of_a_run_messages_carry_no_secrets(execute):
    assert not any("secrets" in message["metadata"] for message in execute("1"))


def test_a_kernel_that_is_built_otherwise_is_refused(execute):
    code = "ip = get_ipython(); kernel, ip.kernel = ip.kernel, object()\n"
    code += "try:\n    masks.add('another-secret')\nexcept RuntimeError as error:\n"
    code += "    said = str(error)\nfinally:\n    ip.kernel = kernel\nprint(said)"
    assert "messages of this kernel cannot be masked" in printed(execute(code))
