"""JupyterLab: known secrets are masked in a notebook before it is saved.

`jupyter_server_config.d/runbook.json`, which the installation puts where the servers of this
environment look, makes this an extension of them.
"""

import atexit
import os

from tornado.web import HTTPError

from lib import profiles
from lib.chain.redact import Known, Redactor

_redactors: list[Redactor] = []  # one, once the server is ready


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": "lib.chain.jupyter"}]


def _load_jupyter_server_extension(server: object) -> None:
    """Hook into saving; get ready a file to which the server's kernels will tell their secrets."""
    server.contents_manager.register_pre_save_hook(before_saving)
    known = Known.create()
    atexit.register(known.close)
    os.environ["RUNBOOK_SECRETS"] = str(known.path)  # kernels inherit it
    known.add(profiles.kept())
    _redactors[:] = [Redactor(known)]


def before_saving(*, model: dict, path: str, **_: object) -> None:
    """Mask the secrets in a notebook; what cannot be looked at is not saved.

    Jupyter saves all the same when a hook fails, unless it fails by an HTTPError.
    """
    if model.get("type") != "notebook" or not model.get("content"):
        return
    try:
        _redactors[0].notebook(model["content"])
    except Exception as error:
        told = f"{path} was not saved: its secrets could not be masked ({type(error).__name__})"
        raise HTTPError(500, told) from error
