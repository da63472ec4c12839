"""What a notebook was given: its parameters, checked in its kernel as `runbook` checks them.

Plain papermill only warns of a name that the notebook does not have, and takes any value.
"""

import ast
from collections.abc import Iterable
from pathlib import Path

from lib.chain import params, values
from lib.record.faults import BadInput
from lib.record.journal import ROOT

NOTEBOOKS = ROOT / "notebooks"
INJECTED = "# Parameters\n"  # how papermill begins the cell that it puts behind ours


def demand(sources: Iterable[str], names: dict[str, object], notebooks: Path = NOTEBOOKS) -> None:
    """Raise BadInput with the faults of all parameters in executed cells, by their present values.

    `sources` are the texts of the cells, `names` the variables of the kernel. A shared file may
    give values to other stages: what any notebook declares is known.
    """
    cells = [(text, _assigned(text)) for text in sources]
    own = {n for _, found in cells for n, typed in found.items() if typed}
    injected = {n for text, found in cells if text.startswith(INJECTED) for n in found}
    if not own and not injected:
        return
    table = params.gather(notebooks)
    new = own - table.keys()  # of a notebook that is not the project's
    wrong = [values.fault(table, n, names[n]) for n in sorted((own | injected) - new) if n in names]
    if faults := [fault for fault in wrong if fault]:
        raise BadInput(faults)


def _assigned(text: str) -> dict[str, bool]:
    """Return the names of a cell of parameters, and whether they have a type; else none."""
    try:
        nodes = ast.parse(text).body
    except SyntaxError:  # a magic or a shell escape
        return {}
    if nodes and all(isinstance(n, ast.AnnAssign) for n in nodes):
        return {ast.unparse(n.target): True for n in nodes}
    if text.startswith(INJECTED):
        return {
            ast.unparse(t): False for n in nodes if isinstance(n, ast.Assign) for t in n.targets
        }
    return {}
