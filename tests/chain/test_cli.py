import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from harness import BIN
from workstations import make_key

from lib.commands.main import main
from lib.record.journal import ROOT

from .conftest import RUNBOOK

CELL = 'mode: str = "plan"  # "plan" looks; "apply" changes\nsize: int = 3  # GB | GiB'


def only_run(tmp_path):
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    return folder


def test_a_run_takes_files_and_options_in_any_order(book, notebooks, at, tmp_path, capsys):
    book(notebooks / "10-one.ipynb", "print(mode, size)", parameters=CELL)
    book(notebooks / "90-remove.ipynb", "1 / 0")
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("size: 4\n")
    second.write_text("size: 5\n")
    assert main(["run", str(first), "-p", "mode=plan", str(second), "--mode", "apply", *at]) == 0
    output = capsys.readouterr().out
    assert "✓ 10-one  ok" in output
    assert output.splitlines()[-1].startswith("Done: 1 of 1 stages ok in ")
    book = nbformat.read(only_run(tmp_path) / "10-one.ipynb", 4)
    assert book.cells[-1].outputs[0].text == "apply 5\n"
    assert main(["run", str(first), "--mode", "plan", *at]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Plan: 0 to make, 0 to change, 0 to remove"


def test_a_failed_run_prints_the_command_to_continue(book, notebooks, at, tmp_path, capfd):
    book(notebooks / "10-one.ipynb", "raise ValueError('no such zone')")
    file = tmp_path / "my file.yaml"
    file.write_text("")
    assert main(["run", str(file), *at]) == 1
    output, noise = capfd.readouterr()
    assert "10-one failed: ValueError: no such zone\n" in output
    assert f"To continue: runbook resume {only_run(tmp_path)}" in output
    assert "Traceback" not in output
    assert noise == ""


def test_after_a_wrong_parameter_the_corrected_command_is_offered(
    book, notebooks, at, tmp_path, capsys
):
    fault = "from lib import errors\nraise errors.ParamsError('size', 'less', 9)"
    book(notebooks / "10-one.ipynb", fault)
    book(notebooks / "20-two.ipynb", "1")
    assert main(["run", "--stages", "10", *at]) == 1
    output, params = capsys.readouterr().out, only_run(tmp_path) / "params.yaml"
    words = f"{params} -p size=VALUE --stages 10 --notebooks {notebooks} --runs"
    assert f"runbook run {words}" in output and "resume" not in output


def test_all_faults_end_the_command_with_2_before_anything_starts(
    book, notebooks, at, tmp_path, capsys
):
    book(notebooks / "10-one.ipynb", parameters=CELL)
    file = tmp_path / "a.yaml"
    file.write_text("size: 012\nmood: plan\n")
    assert main(["run", str(file), *at]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "Nothing was started: 2 faults.",
        f"  {file}:1: size: expected a whole number; "
        "YAML reads 012 as the whole number 10: write plain digits",
        f"  {file}:2: mood: there is no such parameter: did you mean mode?",
    ]
    assert main(["run", "--stages", "20", *at]) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rum", "No such command 'rum'. (Did you mean one of: 'resume', 'run'?)"),
        ("run --stage 10", "No such option '--stage'."),
        ("run --cell-timeout 0", "'--cell-timeout': 0 is not in the range x>=1"),
        ("run --cell-timeout 1.5", "'--cell-timeout': '1.5' is not a valid integer range"),
        ("run --mode look", "'look' is not one of 'plan', 'apply'"),
        ("run --sign no/such/key", "'--sign': File 'no/such/key' does not exist"),
        ("report", "Missing argument 'RUN'"),
        ("", "Commands:"),
    ],
)
def test_an_unknown_command_ends_with_2_and_a_suggestion(words, message, capsys):
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_reported_without_a_traceback(
    book, notebooks, tmp_path, capsys
):
    book(notebooks / "10-one.ipynb", "1")
    (tmp_path / "file").write_text("")
    assert main(["run", "--notebooks", str(notebooks), "--runs", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("runbook: ")


def test_params_are_listed_as_table_json_and_markdown(book, notebooks, capsys):
    book(notebooks / "10-one.ipynb", parameters=CELL)
    book(notebooks / "explore.ipynb", parameters=CELL.splitlines()[0])
    at = ["--notebooks", str(notebooks)]
    assert main(["params", *at]) == 0
    assert "10 explore" in capsys.readouterr().out
    assert main(["params", "--format", "json", *at]) == 0
    size = {"name": "size", "type": "int", "default": 3, "meaning": "GB | GiB"}
    listed = json.loads(capsys.readouterr().out)
    assert listed[1] == size | {"notebooks": ["10-one"], "edited": []}
    assert main(["params", "mode", *at]) == 0
    assert "  allowed    plan or apply\n" in capsys.readouterr().out
    assert main(["params", "sise", *at]) == 2
    assert "did you mean size?" in capsys.readouterr().err
    assert main(["params", "--format", "markdown", *at]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == r"| size | int | 3 | GB \| GiB | 10 |"


def test_help_lists_all_commands_and_options(capsys):
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    commands = "run plan apply resume drift verify list open watch diff export report params lab"
    commands = f"{commands} local-cloud rehearse survey fleet".split()
    listed = output.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == commands
    for command in commands:
        if command != "local-cloud":
            assert main([command, "-h"]) == 0
    output = capsys.readouterr().out
    options = "[FILE]... -p NAME=VALUE --mode --stages --cell-timeout --reason --sign --notebooks"
    options += " --runs --signers --noted --to --format --cluster --failed -n --json A B"
    assert [option for option in options.split() if option not in output] == []


def test_the_version_and_the_names_of_runs_for_a_shell_are_printed(tmp_path, capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("runbook 0.")
    (tmp_path / "runs/20260304-050607-web").mkdir(parents=True)
    (tmp_path / "runs/20260304-050607-web/params.yaml").touch()
    words = f"runbook diff --runs {tmp_path}/runs latest "
    env = os.environ | {"COMP_WORDS": words, "COMP_CWORD": "5"}
    env["_RUNBOOK_COMPLETE"] = "bash_complete"
    asked = [BIN / "runbook"]
    done = subprocess.run(asked, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["plain,latest", "plain,20260304-050607-web"]


def test_a_pipe_that_is_closed_early_ends_a_command_without_a_traceback(tmp_path):
    (tmp_path / "runs").mkdir()
    for number in range(200):
        folder = tmp_path / f"runs/20260304-{number:06}-web"
        folder.mkdir()
        (folder / "params.yaml").touch()
    listed = f"'{sys.executable}' -m lib list --runs '{tmp_path}/runs'"
    command = f"{listed} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_local_cloud_reads_its_own_options(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["local-cloud", "start", "--help"])
    assert "--time-scale" in capsys.readouterr().out


def test_help_and_params_do_not_wait_for_papermill(book, notebooks):
    book(notebooks / "10-one.ipynb", parameters=CELL)
    code = (
        "import sys; from lib.commands.main import main; "
        f"main(['--help']); main(['params', '--notebooks', {str(notebooks)!r}]); "
        "sys.exit('papermill' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_a_cell_that_will_not_end_is_killed_by_the_second_signal(book, notebooks, at, tmp_path):
    marker = tmp_path / "marker"
    cell = (
        "import signal, time, os; from pathlib import Path\n"
        f"signal.signal(2, lambda *_: Path({str(marker)!r} + '2').touch())\n"
        f"Path({str(marker)!r} + '1').write_text(str(os.getpid()))\n"
        f"os.rename({str(marker)!r} + '1', {str(marker)!r})\n"
        "while True: time.sleep(0.05)"
    )
    book(notebooks / "10-one.ipynb", cell)
    words = [*RUNBOOK, "run", *at]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for sign in (marker, tmp_path / "marker2"):
            until = time.monotonic() + 30
            while not sign.exists() and time.monotonic() < until:
                time.sleep(0.02)
            process.terminate()
        output, _ = process.communicate(timeout=20)
    kernel = int(marker.read_text())
    assert process.returncode == 128 + signal.SIGTERM
    assert "10-one killed: the cell did not end when it was interrupted" in output
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


def signing_key(path, passphrase=""):
    make_key(path, passphrase)
    path.with_name("allowed").write_text(f"operator {path.with_suffix('.pub').read_text()}")
    return path


def test_a_run_is_signed_and_its_signature_checked(book, notebooks, at, tmp_path, capsys):
    book(notebooks / "10-one.ipynb", "1")
    key = signing_key(tmp_path / "key")
    assert main(["run", "--sign", str(key), *at]) == 0
    asked = ["verify", *at[2:], "--signers", str(tmp_path / "allowed")]
    assert main(asked) == 0
    (only_run(tmp_path) / "MANIFEST.sha256.sig").unlink()
    assert main(asked) == 6
    assert "the run was not signed, or this was removed" in capsys.readouterr().out


def test_an_unsigned_run_prints_the_command_to_sign_it(book, notebooks, at, tmp_path, capsys):
    book(notebooks / "10-one.ipynb", "1")
    key = signing_key(tmp_path / "key", "a passphrase")
    command = [*RUNBOOK, "run", "--sign", str(key), *at]
    alone = {"start_new_session": True, "env": os.environ | {"SSH_ASKPASS_REQUIRE": "never"}}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **alone)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    output = next(ln for ln in ran.stdout.splitlines() if "not signed with" in ln)
    words = output.partition("To sign it: ")[2].split()
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "a passphrase", "-N", "", "-f", key], check=True
    )
    subprocess.run(words, check=True, capture_output=True)
    assert main(["verify", *at[2:], "--signers", str(tmp_path / "allowed")]) == 0
