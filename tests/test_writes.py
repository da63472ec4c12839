"""Changes of a machine through its shell are in the journal before they are made."""

import pytest
from harness import changes

from lib import changes as reconcile
from lib import config
from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.record.journal import Journal, run_folder
from lib.workstation import files
from lib.workstation.shell import read_text, write_text

WS = "me@ws"
INSTALL = {"volume": "v-1", "device": "/dev/vdb"}


@pytest.fixture(autouse=True)
def first(tmp_path, monkeypatch):
    """The folder of the run at hand."""
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "runs/first"))


def states(machine=WS) -> list[str]:
    return [e.state for e in Journal(run_folder(), machine).every()]


def install(error: BaseException | None = None):
    with files.journalled(WS, "coreos-install", "disk", INSTALL) as ended:
        assert states()[-1] == "intent", "the entry comes before the change"
        if error:
            raise error
        ended["text"] = "Success!"


@pytest.mark.parametrize(
    "error, state, text",
    [
        (CheckFailed("the table", "a", "b", "lines\nWait."), "failed", "the table. Wait."),
        (ShellFailed("x", 3, "pass=word", "Wiped."), "failed", "it ended with 3. Wiped."),
        (ShellFailed("x", None, ""), "failed", "it left no exit code."),
        (ShellFailed("x", 255, ""), "failed", "it ended with 255."),
        (OutOfSight("x", 255, "closed"), "intent", None),
        (OutOfSight("x", None, ""), "intent", None),
        (KeyboardInterrupt(), "intent", None),
    ],
)
def test_an_install_is_failed_only_if_it_was_seen_to_fail(error, state, text):
    with pytest.raises(type(error)):
        install(error)
    (entry,) = Journal(run_folder(), WS).every()
    assert (entry.state, entry.text or None) == (state, text)


def test_an_open_change_is_lost_once_it_is_started_again():
    with pytest.raises(OutOfSight):
        install(OutOfSight("x", None, ""))
    install()
    assert states() == ["lost", "done"]


def test_open_changes_of_another_run_are_settled_by_the_volume(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        install(KeyboardInterrupt())
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "runs/second"))
    files.settle_volume(WS, "v-2", "Success!")
    assert [run for run, _ in files.left_open(WS)] == ["first"] and states() == []
    files.settle_volume(WS, "v-1", "Success!")
    assert files.left_open(WS) == [] and states() == ["looked-after"]


@pytest.mark.parametrize(
    "meanwhile, state", [("new", "adopted"), ("old", "not-sent"), ("other", "lost"), (None, "lost")]
)
def test_a_checksum_settles_the_change_of_a_file(here, tmp_path, capsys, meanwhile, state):
    at, file = files.workstation(here), "w d/it's.yml"
    params = {"file": file, "before": files.sha256("old"), "after": files.sha256("new")}
    with pytest.raises(KeyboardInterrupt), files.journalled(at, "write", "it", params):
        if meanwhile:
            write_text(here, file, meanwhile)
        raise KeyboardInterrupt
    files.settle_files(here, at)
    assert states(at) == [state] and "write it, left open before: " in capsys.readouterr().out
    files.settle_files(here, at)
    assert capsys.readouterr().out == ""


def test_a_configuration_is_journalled_by_checksums_without_its_text(here):
    config.write(here, "w/c.yml", "hostname: first\n")
    config.write(here, "w/c.yml", "hostname: second\n", "hostname: first\n", "w/c.yml.old")
    assert read_text(here, "w/c.yml") == "hostname: second\n"
    first, second = Journal(run_folder(), files.workstation(here)).every()
    assert first.params["before"] == "" and first.what == "w/c.yml on this machine"
    assert second.params["before"] == first.params["after"]
    assert second.text.endswith("; the old one is kept as w/c.yml.old")
    assert "hostname" not in repr([first, second])


def test_no_cloud_settles_changes_of_a_machine(cloud):
    before = changes(cloud)
    with pytest.raises(KeyboardInterrupt):
        install(KeyboardInterrupt())
    cloud.folder = run_folder()
    reconcile.settle(cloud)
    assert cloud.journal.every() == []
    assert states() == ["intent"] and changes(cloud) == before
