"""Plain papermill: it warns of no parameter that another stage has.

It loads this module as one of its engines, which is its own. A parameter file serves all stages;
what no stage has is told in the notebook, as a fault.
"""

import logging
from pathlib import Path

from papermill.engines import NBClientEngine

from lib.chain import params
from lib.record.faults import BadInput
from lib.record.journal import ROOT

WARNING = "Passed unknown parameter: "
NOTEBOOKS = ROOT / "notebooks"
Engine = NBClientEngine


def is_news(record: logging.LogRecord, notebooks: Path = NOTEBOOKS) -> bool:
    """Return whether a line of papermill's log is no warning of a parameter that a stage has."""
    text = record.getMessage()
    if not text.startswith(WARNING):
        return True
    try:
        return text.removeprefix(WARNING) not in params.gather(notebooks)
    except BadInput:  # the notebook tells it
        return True


logging.getLogger("papermill").addFilter(is_news)
