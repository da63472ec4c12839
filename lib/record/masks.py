"""Masks: the secrets of this process never leave a notebook's kernel.

`add` registers a secret. The first one puts a gate before the messages of the kernel, so they are
masked before JupyterLab, papermill or the chain shows or saves them.
"""

import os
import sys
from functools import lru_cache
from threading import RLock

from lib.record.forms import SHORTEST
from lib.record.search import Search

SECRET_FIELDS = ("password", "privatekey", "secretkey")  # of answers
_known: dict[str, None] = {}


def add(value: str) -> str:
    """Register a secret and return it; a value of fewer than six characters is ignored."""
    if len(value) >= SHORTEST and value not in _known:
        _known[value] = None
        _guard_kernel()
    return value


def add_from_answer(text: str, body: object) -> None:
    """Register the secrets in an answer of the cloud; `body` is its text, parsed."""
    if any(f'"{name}"' in text for name in SECRET_FIELDS):
        _add_fields(body)


def _add_fields(body: object) -> None:
    for row in body if isinstance(body, list) else []:
        _add_fields(row)
    for name, value in body.items() if isinstance(body, dict) else []:
        _add_fields(value)
        if name in SECRET_FIELDS:
            add(str(value))


def values() -> list[str]:
    """Return all registered secrets."""
    return list(_known)


def masked(node: object) -> object:
    """Return a copy of a part of a message, with the secrets in all its texts masked."""
    if isinstance(node, str):
        return _search(tuple(_known)).text(node)
    if isinstance(node, bytes | bytearray | memoryview):
        return _search(tuple(_known)).data(bytes(node))
    if isinstance(node, list | tuple):
        return [masked(item) for item in node]
    if isinstance(node, dict):
        return {masked(key): masked(value) for key, value in node.items()}
    return node


_search = lru_cache(1)(Search)  # built again only when a secret was added


def _guard_kernel() -> None:
    """Put a gate before the kernel's messages, if this process is a kernel and has no gate yet.

    Raises RuntimeError where the kernel has no `session.send` to replace.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return
    session = getattr(kernel, "session", None)
    if not callable(getattr(session, "send", None)):
        raise RuntimeError(
            "the messages of this kernel cannot be masked, so no secret may be used in it: "
            "install the ipykernel that requirements.txt names"
        )
    if not isinstance(getattr(session.send, "__self__", None), Gate):
        session.send = Gate(session).send


class Gate:
    """Masks the messages of a kernel.

    The beginning of a line waits for its end, or for any other message, so that a secret printed in
    pieces is found. In a run of the chain, the end of each cell passes the secrets to the driver.
    """

    def __init__(self, session):
        self._session, self._send = session, session.send
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = RLock()
        self._line: tuple | None = None  # the line held back: socket, message, identity, texts

    def send(
        self, stream, msg_or_type, content=None, parent=None, ident=None, **more: object
    ) -> dict:
        """Send a message as `Session.send` of jupyter_client does, masked.

        `more` are its buffers, track, header and metadata.
        """
        buffers, track = more.pop("buffers", None), more.pop("track", False)
        if isinstance(msg_or_type, str | None):
            msg = self._session.msg(msg_or_type, content=content, parent=parent, **more)
        else:
            msg = dict(msg_or_type)
        with self._lock:
            if msg["header"]["msg_type"] == "stream":
                return self._stream(stream, msg, ident)
            self._release()
            found = masked(list(buffers or msg.get("buffers") or []))
            return self._send(stream, _clean(msg), ident=ident, buffers=found, track=track)

    def _stream(self, stream, msg: dict, ident) -> dict:
        """Send the complete lines of a stream, and hold back the rest."""
        texts = []
        if self._line and _whose(self._line[1]) == _whose(msg):
            texts = self._line[3]
        else:
            self._release()
        texts.append(msg["content"]["text"])
        self._line = (stream, msg, ident, texts)
        if "\n" in texts[-1] or "\r" in texts[-1]:
            data = "".join(texts).encode("utf-8", "surrogatepass")
            cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            spans = _search(tuple(_known)).spans(data)
            cut = next((start for start, end in spans if start < cut < end), cut)
            self._send_line(data[:cut].decode("utf-8", "surrogatepass"))
            texts[:] = [data[cut:].decode("utf-8", "surrogatepass")]
        return msg

    def _release(self) -> None:
        """Send the line that is held back."""
        if self._line:
            self._send_line("".join(self._line[3]))
            self._line = None

    def _send_line(self, text: str) -> None:
        stream, msg, ident, _ = self._line
        if text:
            msg = msg | {"content": msg["content"] | {"text": masked(text)}}
            self._send(stream, msg, ident=ident)


def _whose(msg: dict) -> tuple:
    return msg["content"]["name"], (msg.get("parent_header") or {}).get("msg_id")


def _clean(msg: dict) -> dict:
    """Return a message masked; the end of a cell carries the secrets to the chain's driver."""
    content, metadata = masked(msg["content"]), masked(msg.get("metadata") or {})
    if content.get("execution_state") == "idle" and "RUNBOOK_RUN" in os.environ:
        metadata["secrets"] = values()
    return msg | {"content": content, "metadata": metadata}
