"""The installer that is fetched: by the real wget from a real server, and without root."""

import hashlib
import http.server
import shutil
import threading
from functools import partial

import pytest
from harness import play, play_to
from stages import CHECK
from test_installers import IMAGE, INSTALLER, apply, installed, plan, usage, workstation
from workstations import program

from lib.errors import CheckFailed, ShellFailed
from lib.install import fetched, images
from lib.workstation import notes
from lib.workstation.shell import find_text, write_text

AT = "w/coreos-install"
SUDO = 'shift; echo "$*" >>sudone; exec "$@"'


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A workstation with no installer on root's PATH."""
    (tmp_path / "home").mkdir()
    machine = workstation(tmp_path / "home", monkeypatch)
    (machine.home / "bin/coreos-install").unlink()
    program(machine.home, "sudo", SUDO)
    program(machine.home, "wget", 'exec /usr/bin/wget "$@"')
    return machine


@pytest.fixture
def script(machine, tmp_path):
    """The installer's text, and the URL of it."""
    shutil.rmtree(machine.home / "later")  # of the one that was on the PATH
    text = usage() + INSTALLER.format(written=machine.later([installed()]))
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "coreos-install").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "page").write_text("<html>not found</html>")
    serve = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/coreos-install", f"#!/bin/sh\n{text}\n"
        server.shutdown()


def test_it_is_fetched_without_root_checked_and_run_with_root(machine, script):
    url, text = script
    more = {"installer_url": url, "installer_sha256": sha(text)}
    steps = plan(machine.shell, **more)
    assert [s.command for s in steps] == ["fetch", "coreos-install"]
    assert steps[0].params == {"url": url, "sha256": sha(text), "mode": "0700"}
    assert find_text(machine.shell, AT) is None, "a plan fetches nothing"
    apply(machine.shell, steps, **more)
    assert plan(machine.shell, **more) == plan(machine.shell) == [], "the disk is what it is"
    done = (machine.home / "sudone").read_text()
    assert "wget --no" not in done and f"{AT} -d /dev/sdd" in done
    noted = notes.read(machine.shell, "w")
    assert noted["fetched"] == {url: sha(text), "file": AT}
    assert noted["installed"]["installer_url"] == url
    (machine.home / "w/own-file").touch()
    notes.clear(machine.shell, "w")
    assert [p.name for p in (machine.home / "w").iterdir()] == ["own-file"]


def test_what_was_fetched_without_a_checksum_must_stay_the_same(machine, script):
    url, text = script
    image = images.Image(**IMAGE, installer_url=url)
    look = partial(fetched.plan_fetch, machine.shell, image, "w")
    write_text(machine.shell, AT, "#!/bin/sh\nsomebody's\n")
    assert look()[0].why.startswith("it is another one")
    assert fetched.fetch(machine.shell, image, "w") == f"sha256 {sha(text)}"
    assert look() == []
    message = fetched.demand_as_wanted(machine.shell, image, "w")
    assert message.startswith(AT) and message.endswith(sha(text))
    write_text(machine.shell, AT, text + "# changed\n")
    assert len(look()) == 1


WRONG = {
    "another checksum": ("", {"installer_sha256": "0" * 64}, CheckFailed, "Nothing was kept"),
    "a page": ("page", {}, CheckFailed, "wanted a script"),
    "nothing there": ("none", {}, ShellFailed, "404"),
}


@pytest.mark.parametrize("name, more, error, text", WRONG.values(), ids=WRONG)
def test_what_is_not_the_installer_is_not_kept(machine, script, name, more, error, text):
    url = script[0] if not name else script[0].replace("coreos-install", name)
    with pytest.raises(error, match=text):
        fetched.fetch(machine.shell, images.Image(**IMAGE, installer_url=url, **more), "w")
    assert sorted(p.name for p in (machine.home / "w").iterdir()) == ["cloud-config.yml"]


def test_a_url_that_is_not_there_stops_the_plan(machine, script):
    with pytest.raises(CheckFailed, match=r"broken link.*Correct installer_url"):
        plan(machine.shell, installer_url=script[0] + "x")


def test_the_one_on_the_path_may_be_held_to_a_checksum(machine, script):
    path = program(machine.home, "coreos-install", usage())
    assert len(plan(machine.shell, installer_sha256=sha(path.read_text()))) == 1
    with pytest.raises(CheckFailed, match=r"sha256 of .*bin/coreos-install: wanted 0{64}, found"):
        plan(machine.shell, installer_sha256="0" * 64)


def test_the_procedure_with_a_fetched_installer(cloud, capsys):
    more = {"installer_url": "https://mirror.example/coreos-install"}
    rows = play(cloud, CHECK, stop_at="check-configuration", **more)["rows"]
    assert [r.found for r in rows if r.what == "the installer"] == [
        f"coreos-install, which 30 fetches from {more['installer_url']}; and what it needs"
    ]
    play_to(cloud, "30-install-coreos", **more)
    assert "fetch coreos-cluster/coreos-install" in capsys.readouterr().out
    plain = play(cloud, CHECK, stop_at="check-configuration")["rows"]
    assert not [r for r in plain if r.ok == "✗"]
    more["volume_name"] = "another_disk"
    rows = play(cloud, CHECK, stop_at="check-configuration", **more)["rows"]
    found = next(r.found for r in rows if r.what == "the installer")
    assert found.startswith("coreos-cluster/coreos-install of 20") and "sha256" in found
