"""Masks: what this process knows to be secret never leaves a notebook's kernel.

`know` makes a value known. The first one puts a gate before the messages of the kernel, so what
JupyterLab, papermill or the chain shows and saves was masked where it came from.
"""

import os
import sys
from functools import lru_cache
from threading import RLock

from lib.record.forms import SHORTEST
from lib.record.search import Search

SECRET_FIELDS = ("password", "privatekey", "secretkey")  # of answers
_known: dict[str, None] = {}


def know(value: str) -> str:
    """Make a secret known, and return it. What is shorter than six characters is none."""
    if len(value) >= SHORTEST and value not in _known:
        _known[value] = None
        _guard_kernel()
    return value


def know_told(text: str, body: object) -> None:
    """Make known the secrets in an answer of the cloud; `body` is its text, parsed."""
    if any(f'"{name}"' in text for name in SECRET_FIELDS):
        _know_fields(body)


def _know_fields(body: object) -> None:
    for row in body if isinstance(body, list) else []:
        _know_fields(row)
    for name, value in body.items() if isinstance(body, dict) else []:
        _know_fields(value)
        if name in SECRET_FIELDS:
            know(str(value))


def values() -> list[str]:
    """Return all that is known in this process."""
    return list(_known)


def masked(node: object) -> object:
    """Return a copy of what goes into a message, with the secrets in all its texts masked."""
    if isinstance(node, str):
        return _search(tuple(_known)).text(node)
    if isinstance(node, bytes | bytearray | memoryview):
        return _search(tuple(_known)).data(bytes(node))
    if isinstance(node, list | tuple):
        return [masked(item) for item in node]
    if isinstance(node, dict):
        return {masked(key): masked(value) for key, value in node.items()}
    return node


_search = lru_cache(1)(Search)  # made anew only when more is known


def _guard_kernel() -> None:
    """Put a gate before the messages of this process' kernel, if it is one and has none.

    Raises RuntimeError where the kernel is not built as we know it.
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
    """Masks what a kernel sends. A line of a stream is sent once it is whole.

    Its beginning waits for its end, or for any other message, so that a secret that was printed in
    pieces is seen. In a run of the chain the driver learns what is known with the end of each cell.
    """

    def __init__(self, session):
        self._session, self._send = session, session.send
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = RLock()
        self._line: tuple | None = None  # what is held back: socket, message, identity, its texts

    def send(self, stream, msg_or_type, content=None, parent=None, ident=None, buffers=None,
             track=False, header=None, metadata=None):  # fmt: skip
        """Send a message as `Session.send` of jupyter_client does, masked."""
        if isinstance(msg_or_type, str | None):
            more = {"parent": parent, "header": header, "metadata": metadata}
            msg = self._session.msg(msg_or_type, content=content, **more)
        else:
            msg = dict(msg_or_type)
        with self._lock:
            if msg["header"]["msg_type"] == "stream":
                return self._stream(stream, msg, ident)
            self._release()
            found = masked(list(buffers or msg.get("buffers") or []))
            return self._send(stream, _clean(msg), ident=ident, buffers=found, track=track)

    def _stream(self, stream, msg: dict, ident) -> dict:
        """Send the whole lines of a stream, and hold back what comes after them."""
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
        """Send what is held back."""
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
    """Return a message masked; the end of a cell tells the chain's driver what is known."""
    content, metadata = masked(msg["content"]), masked(msg.get("metadata") or {})
    if content.get("execution_state") == "idle" and "RUNBOOK_RUN" in os.environ:
        metadata["secrets"] = values()
    return msg | {"content": content, "metadata": metadata}
