"""The `runbook` command: run the notebooks, read their records, keep a cloud on this machine."""

import sys
from collections.abc import Sequence

import click

from lib.commands import again, drift, fleet, records, rehearse, running, work


class InOrder(click.Group):
    """A group that lists its commands as they are written, not by the alphabet."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


@click.group(
    cls=InOrder,
    epilog="`runbook COMMAND --help` explains the options of a command. To begin with, "
    "`runbook run params/local.yaml` rehearses all stages at a cloud on this machine.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="coreos-cluster-runbook", message="%(prog)s %(version)s")
def runbook() -> None:
    """Run notebooks that build a CoreOS cluster on CloudStack, and read what they recorded."""


for command in (
    *(running.run, running.plan, running.apply, running.resume, drift.drift),
    *(records.verify, records.list_, records.open_, records.watch, records.diff),
    *(records.export, records.report),
    *(work.params, work.lab, work.local_cloud),
    *(rehearse.rehearse, rehearse.survey, fleet.fleet),
):
    runbook.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; the README lists them."""
    from lib.errors import AtWork, RunbookError, plain
    from lib.record.faults import BadInput, RecordCut
    from lib.record.texts import translated
    from lib.report import console

    console.set_up()
    try:
        code = runbook.main(argv, "runbook", standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except click.UsageError as error:
        error.message = plain(error.message)
        error.show()
        return error.exit_code
    except BadInput as bad:
        count, word = len(bad.faults), (argv if argv is not None else sys.argv[1:])[0]
        head = (
            "Nothing was started"
            if word in ("run", "plan", "apply", "resume")
            else f"runbook {word}"
        )
        text = "{}: {} faults." if count > 1 else "{}: {} fault."
        print(translated(text, translated(head), count), file=sys.stderr)
        print("\n".join(f"  {plain(fault)}" for fault in bad.faults), file=sys.stderr)
        return 2
    except RecordCut as cut:
        text = translated("Make room, then: {}", again.to_resume(cut.folder))
        print(plain(f"{cut}\n{text}"), file=sys.stderr)
        return 1
    except BrokenPipeError:  # as of `runbook list | head`
        running.drop_output()
        return 1
    except AtWork as busy:
        print(plain(f"Nothing was started: {busy}"), file=sys.stderr)
        return 8
    except (OSError, RunbookError) as error:
        print(plain(f"runbook: {error}"), file=sys.stderr)
        return 1
    except click.Abort:  # Ctrl-C
        print("Interrupted.", file=sys.stderr)
        return 130
