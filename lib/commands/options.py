"""What commands take: kinds of arguments, and the options that several commands share."""

from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from lib.record.journal import ROOT


class Given(click.ParamType):
    """A text that says something: one that is empty or not UTF-8 is a mistake, as of a script."""

    name = "text"

    def convert(self, value: str, param: object, context: object) -> str:
        """Return the text; fail where there is none, or none that can be written down."""
        if not value.strip():
            self.fail("it is empty: leave the option out, or give it a value", param, context)
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("it is not UTF-8 text", param, context)
        return value


class Run(Given):
    """The name or the folder of a run; `latest` is the newest."""

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names of runs that begin so."""
        from lib.report import past

        runs = context.params.get("runs") or ROOT / "runs"
        names = [past.LATEST, *(folder.name for folder in past.folders(Path(runs)))]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class GivenPath(click.Path):
    """A path, which is not empty: that would be the folder that one stands in."""

    def convert(self, value: str | Path, param: object, context: object) -> Path:
        """Return the path."""
        if isinstance(value, str) and not value.strip():
            self.fail("it is empty: leave the option out, or give it a path", param, context)
        return super().convert(value, param, context)


PATH = GivenPath(path_type=Path)
EXPORTS = "ansible|ssh-config|hosts|terraform-import|csv"
TYPES = {
    "DIR": PATH,
    "FILE": PATH,
    "LIST": Given(),
    "NAME": Given(),
    "NAME=VALUE": Given(),
    "SHA256": Given(),
    "TEXT": Given(),
    "KEY": click.Path(exists=True, dir_okay=False, path_type=Path),
    "SECONDS": click.IntRange(min=1),
    "NUMBER": click.IntRange(min=1),
    "PORT": click.IntRange(1, 65535),
    EXPORTS: click.Choice(EXPORTS.split("|")),
    "plan|apply": click.Choice(["plan", "apply"]),
    "table|json|markdown": click.Choice(["table", "json", "markdown"]),
}


def option(names: str, kind: str, meaning: str, **more: object) -> Callable:
    """Return an option whose value is of a kind: one of TYPES, or a text."""
    return click.option(*names.split(), metavar=kind, type=TYPES.get(kind), help=meaning, **more)


# What several commands take.
RUN = click.argument("run", metavar="RUN", type=Run())
NOTEBOOKS = option("--notebooks", "DIR", "Where the stages are.", default=ROOT / "notebooks")
RUNS = option("--runs", "DIR", "Where the folders of runs are.", default=ROOT / "runs")
TIMEOUT = option("--cell-timeout", "SECONDS", "How long one cell may take; else without limit.")
REASON = option("--reason", "TEXT", "Why this is done, or its ticket; it is recorded.")
SIGN = option("--sign", "KEY", "Sign with this SSH key (its private file, or .pub of an agent's).")
FORCE = option("--force", "TEXT", "Take the place of another run at this cluster, for this reason.")
YES = click.option("--yes", is_flag=True, help="Do not ask, also on a terminal.")
