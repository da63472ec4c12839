"""The other commands: params, lab and local-cloud."""

from pathlib import Path

import click

from lib.commands.options import NOTEBOOKS, RUNS, option


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@option("--format form", "table|json|markdown", "How to print it.", default="table")
@NOTEBOOKS
def params(name: str | None, form: str, notebooks: Path) -> None:
    """List all parameters: name, type, default, meaning, notebooks.

    With NAME only that one, and the values that it may have.
    """
    from lib.chain import listing, params, values

    table = params.gather(notebooks)
    if not name:
        return listing.show(table, form)
    if name not in table:
        raise click.UsageError(values.unknown(name, table))
    listing.show_one(table[name])


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@option("-p given", "NAME=VALUE", "Set one parameter; wins over all files.", multiple=True)
@option("--reason", "TEXT", "Why this is done, or its ticket: the operation note.")
@option("--folder", "DIR", "The working folder; else lab/ and the cluster's name.")
@click.option("--browser/--no-browser", default=True, help="Whether to open a browser.")
@option("--port", "PORT", "Where JupyterLab listens.")
@NOTEBOOKS
@RUNS
def lab(
    files: tuple[str, ...],
    given: tuple[str, ...],
    reason: str | None,
    notebooks: Path,
    runs: Path,
    folder: Path | None,
    **options: object,
) -> None:
    """Work by hand: prepare a copy of each notebook, and open them in JupyterLab.

    Each FILE holds parameters (YAML); a later one wins. The copies start in plan mode. One that
    was worked in before moves to `earlier/` of the working folder.
    """
    from lib import profiles
    from lib.chain import params, values
    from lib.lab import opening

    table = params.gather(notebooks)
    merged = values.load(table, files, given, profiles.kept())
    where = {"notebooks": notebooks, "runs": runs, "folder": folder or opening.folder_for(merged)}
    opening.open_lab(table, merged, [Path(f) for f in files], where, reason, **options)


UNREAD = {"ignore_unknown_options": True}  # the local cloud reads its own options


@click.command("local-cloud", add_help_option=False, context_settings=UNREAD)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def local_cloud(words: tuple[str, ...]) -> int:
    """Start, stop, reset or show the cloud on this machine."""
    from lib.localcloud.__main__ import main as local_cloud

    return local_cloud(list(words))
