"""Running machines get another configuration, one at a time, and keep the old one."""

import json
import os
import shutil
import subprocess
import time

import pytest
import requests
from harness import FLATCAR, KEY, STAGES, USERDATA, changes, fault, home, hurry, machines, play
from stages import DEPLOY, RECONFIGURE, REMOVE, VERIFY

from lib.cluster import login, reconfigure
from lib.config import discovery
from lib.errors import CheckFailed, JobFailed, OutOfSight, ParamsError, ShellFailed
from lib.localcloud.guests import etcd
from lib.localcloud.workstation import images
from lib.record.journal import Entry, Journal
from lib.workstation import files as writes
from lib.workstation.shell import connect_shell, run

FIRST, SECOND, THIRD = (f"coreos-cluster-{n}" for n in (1, 2, 3))


@pytest.fixture
def cloud(request, built, tmp_path):
    """A client of a local cloud with a cluster, by default of today's dialect."""
    with built(VERIFY, getattr(request, "param", "4.22")).running(tmp_path / "cloud") as one:
        yield one


@pytest.fixture
def neutral(built):
    """A local cloud with a neutral template."""
    return built(**USERDATA)


both_dialects = pytest.mark.parametrize("cloud", ["4.22", "2.2"], indirect=True)


def change(cloud, **params) -> dict:
    """Play stage 70 as the user core, and return its variables."""
    return play(cloud, RECONFIGURE, **{"machine_user": "core"} | params)


def on_disk(cloud, name: str) -> dict[str, str]:
    """Return the files in the folder of the user data on a machine's disk."""
    machine = str(machines(cloud)[name]["id"])
    disk = json.loads((cloud.server.folder / "machines" / machine / "disk.json").read_text())
    files = images.tree(cloud.server.folder / disk, 9).items()
    return {k.rpartition("/")[2]: v.decode() for k, v in files if "-install/" in k}


def journal_of(cloud, name: str) -> list[Entry]:
    """Return the journal's entries about files on a machine."""
    return Journal(cloud.folder, f"{name}, id {machines(cloud)[name]['id']}").every()


def entry_of(cloud, name: str) -> Entry:
    """Return the journal's only entry about a file on a machine."""
    (entry,) = journal_of(cloud, name)
    assert entry.command == "write" and entry.what.endswith(f"user_data on {name}")
    return entry


def url(cloud) -> str:
    texts = [home(cloud) / n for n in ("user-data.yml", "cloud-config.yml")]
    return discovery.url_in(next(t for t in texts if t.exists()).read_text())


def interrupted(*_, **__):
    raise KeyboardInterrupt


@both_dialects
def test_each_machine_in_turn_gets_the_keys_that_the_plan_shows(cloud, keys, capsys):
    before, seen = on_disk(cloud, FIRST)["user_data"], changes(cloud)
    change(cloud, **keys, mode="plan")
    output = capsys.readouterr().out
    assert output.count(f"+  - {KEY}") == 3 and "rehearsal only" in output
    assert changes(cloud) == seen and on_disk(cloud, FIRST)["user_data"] == before
    change(cloud, **keys)
    assert changes(cloud)[len(seen) :] == ["rebootVirtualMachine"] * 3
    for name in machines(cloud):
        files = on_disk(cloud, name)
        new = files.pop("user_data")
        ((kept, old),) = files.items()
        assert KEY in new and old == before and kept.startswith("user_data.2")
        entry = entry_of(cloud, name)
        checksums = (entry.params["before"], entry.params["after"])
        assert checksums == (writes.sha256(before), writes.sha256(new))
        assert entry.state == "done" and entry.text.endswith(kept)
        assert entry.params["kept"].endswith(kept) and KEY not in str(entry)
    seen = changes(cloud)
    change(cloud, **keys)
    for stage in STAGES:
        play(cloud, stage, **keys)
    assert changes(cloud) == seen, "something was left to do"


@both_dialects
def test_a_cluster_moves_to_a_new_token_once_for_each_word(cloud, capsys):
    first = url(cloud)
    change(cloud, move_discovery="2014-07-19", mode="plan")
    assert url(cloud) == first and len(discovery.members(first)) == 3
    change(cloud, move_discovery="2014-07-19")
    second = url(cloud)
    addresses = {m["nic"][0]["ipaddress"] for m in machines(cloud).values()}
    assert second != first and set(discovery.members(second).values()) == addresses
    assert {r.ok for r in play(cloud, VERIFY)["found"]} == {"✓", "-"}
    kept = [p.read_text() for p in home(cloud).glob("cloud-config.yml.2*")]
    assert [discovery.url_in(t) for t in kept] == [first]
    seen = changes(cloud)
    for stage in (*STAGES, RECONFIGURE):
        play(cloud, stage, machine_user="core", move_discovery="2014-07-19")
    assert url(cloud) == second and changes(cloud) == seen
    change(cloud, move_discovery="2014-07-20")
    assert url(cloud) != second
    tokens = [u.rpartition("/")[2] for u in (first, second, url(cloud))]
    play(cloud, REMOVE)
    assert not home(cloud).exists()
    record = capsys.readouterr().out + (cloud.folder / "journal.jsonl").read_text()
    assert not [t for t in tokens if t in record]
    shell = connect_shell(cloud.profile.shell, "")
    entries = Journal(cloud.folder, writes.workstation(shell)).every()
    assert [e.command for e in entries] == ["move", "write", "move", "write", "delete"]
    assert {e.state for e in entries} == {"done"} and "cloud-config.yml.2" in entries[0].text
    assert entries[1].params["after"] == entries[2].params["before"]


@pytest.mark.parametrize("where", ["config.apply_write", "tell"])
def test_the_next_run_completes_an_interrupted_move_without_a_third_token(
    cloud, monkeypatch, where
):
    first, work = url(cloud), home(cloud) / "cloud-config.yml"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"lib.cluster.reconfigure.{where}", interrupted)
        change(cloud, move_discovery="a")
    written = url(cloud) if work.exists() else ""
    change(cloud)  # although the parameter is not given any more
    assert url(cloud) == written or not written
    assert url(cloud) != first and len(discovery.members(url(cloud))) == 3
    seen = changes(cloud)
    change(cloud, move_discovery="a")
    assert changes(cloud) == seen


@both_dialects
def test_the_next_run_reboots_a_machine_whose_reboot_failed(cloud, keys):
    fault(cloud, "rebootVirtualMachine", "fault:fail-job;code:530;text:Failed to reboot")
    with pytest.raises(JobFailed, match="Failed to reboot"):
        change(cloud, **keys)
    assert KEY in on_disk(cloud, FIRST)["user_data"]
    assert KEY not in on_disk(cloud, SECOND)["user_data"]
    then = [(s.command, s.what) for s in change(cloud, **keys)["plan"].then]
    assert then[:2] == [("rebootVirtualMachine", FIRST), ("rewrite", SECOND)]


def test_a_configuration_that_the_machine_finds_invalid_is_not_written(cloud, keys):
    program = cloud.server.folder / "machines/bin/coreos-cloudinit"
    text = 'case "$*" in *-h*) echo " -validate" ;; *) echo "line 1: error: no"; exit 1 ;; esac'
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    before, seen = on_disk(cloud, FIRST), changes(cloud)
    with pytest.raises(CheckFailed, match=r"(?s)line 1: error: no.*It is as it was"):
        change(cloud, **keys)
    assert on_disk(cloud, FIRST) == before and changes(cloud) == seen
    program.unlink()
    change(cloud, **keys)


def test_a_text_that_is_not_utf8_is_replaced_like_any_other(cloud):
    shell = login.connect(login.Access(cloud, "core"), machines(cloud)[SECOND])
    file = login.FILE.format("coreos")
    command = f"sh -c 'printf \"# J\\374rgen\\n\" >>{file}; sha256sum <{file}'"
    before = run(shell, command, sudo=True).out[:64]
    change(cloud)
    entry = entry_of(cloud, SECOND)
    assert (entry.state, entry.params["before"]) == ("done", before)
    assert change(cloud)["plan"].then == []


@pytest.mark.parametrize("written", [True, False])
def test_the_next_run_looks_whether_a_write_of_unknown_outcome_was_done(
    cloud, keys, monkeypatch, capsys, written
):
    def lose(shell, command, **more):
        if "cp -p" in command and more.get("sudo"):
            if written:
                run(shell, command, **more)
            raise OutOfSight(command, 255, "Connection closed")
        return run(shell, command, **more)

    with monkeypatch.context() as patch, pytest.raises(ShellFailed, match="it looks first"):
        patch.setattr(login, "run", lose)
        change(cloud, **keys)
    assert entry_of(cloud, FIRST).state == "intent"
    then = change(cloud, **keys)["plan"].then
    steps = ["rebootVirtualMachine"] if written else ["rewrite", "rebootVirtualMachine"]
    assert [s.command for s in then if s.what == FIRST] == steps
    outcome = "done" if written else "not done"
    line = f"user_data on {FIRST}, left open before: it was {outcome}"
    assert line in capsys.readouterr().out
    states = [e.state for e in journal_of(cloud, FIRST)]
    assert states == (["adopted"] if written else ["not-sent", "done"])


def test_a_file_that_changed_since_the_plan_is_not_overwritten(cloud, keys, monkeypatch):
    def meddle(shell, command, **more):
        if "cp -p" in command and more.get("sudo"):
            run(shell, f"sh -c 'echo >>{login.FILE.format('coreos')}'", sudo=True)
        return run(shell, command, **more)

    seen = changes(cloud)
    with monkeypatch.context() as patch, pytest.raises(CheckFailed, match="changed meanwhile"):
        patch.setattr(login, "run", meddle)
        change(cloud, **keys)
    assert entry_of(cloud, FIRST).state == "failed"
    assert changes(cloud) == seen and list(on_disk(cloud, FIRST)) == ["user_data"]


def test_a_plan_that_is_out_of_date_is_not_carried_out(cloud, keys):
    at_apply = change(cloud, **keys, stop_at="apply")
    shell = login.connect(login.Access(cloud, "core"), machines(cloud)[SECOND])
    text = at_apply["plan"].texts[SECOND].encode()
    run(shell, f"sh -c 'cat >{login.FILE.format('coreos')}'", sudo=True, stdin=text)
    before, seen = url(cloud), changes(cloud)
    expected = rf"(?s)no longer the one shown.*-rewrite {SECOND}"
    with pytest.raises(CheckFailed, match=expected):
        reconfigure.apply(at_apply["target"], at_apply["plan"], "apply", within=9)
    assert changes(cloud) == seen and url(cloud) == before


def test_a_stopped_machine_stops_the_stage_before_any_change(cloud, keys):
    cloud.call("stopVirtualMachine", id=machines(cloud)[THIRD]["id"])
    seen = changes(cloud)
    with pytest.raises(CheckFailed, match=f"{THIRD}: wanted Running"):
        change(cloud, **keys)
    assert changes(cloud) == seen


@pytest.mark.parametrize(
    "wrong, error, text",
    [
        ({"machine_user": ""}, ParamsError, "machine_user: wanted who logs in"),
        ({"machine_user": "-oProxyCommand=x"}, ParamsError, "machine_user: wanted the name"),
        (FLATCAR | {"config_format": "ignition"}, CheckFailed, "first boot only"),
        (FLATCAR | {"discovery": "static", "move_discovery": "a"}, ParamsError, "move_discovery"),
    ],
)
def test_invalid_parameters_are_refused(cloud, wrong, error, text):
    with pytest.raises(error, match=text):
        change(cloud, **wrong)


@pytest.mark.parametrize("delivery, other", [("disk", "userdata"), ("userdata", "disk")])
def test_another_delivery_than_that_of_the_cluster_is_refused(
    built, neutral, tmp_path, keys, delivery, other, monkeypatch
):
    flatcar = built(**FLATCAR) if delivery == "disk" else neutral
    params = FLATCAR | {"machine_user": "core", "config_delivery": other}
    with flatcar.running(tmp_path / "cloud") as one:
        play(one, DEPLOY, **FLATCAR, config_delivery=delivery)
        before = {p.name: p.read_bytes() for p in home(one).iterdir()}
        seen = changes(one)
        for move in ("", "a"):
            with pytest.raises(CheckFailed, match="the parameters ask for"):
                play(one, RECONFIGURE, **params | keys, move_discovery=move)
        assert {p.name: p.read_bytes() for p in home(one).iterdir()} == before
        assert changes(one) == seen
        if delivery == "disk":
            return
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("lib.cluster.reconfigure._set_aside", interrupted)
            play(one, RECONFIGURE, **USERDATA, move_discovery="a")
        with pytest.raises(CheckFailed, match="the parameters ask for"):
            play(one, RECONFIGURE, **params)  # an interrupted move goes on in its own file only
        play(one, RECONFIGURE, **USERDATA)


def test_user_data_that_the_server_does_not_show_are_refused(old_cloud):
    with pytest.raises(CheckFailed, match=r"4\.18 or newer"):
        play(old_cloud, RECONFIGURE, **USERDATA)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("may_expunge", [0, 1])
def test_user_data_are_replaced_at_the_cloud(
    neutral, tmp_path, keys, monkeypatch, each, may_expunge
):
    monkeypatch.setattr(writes, "now", lambda: "20260304T050607Z")  # two moves within a second
    with neutral.running(tmp_path / "cloud", may_expunge=may_expunge) as one:
        params = USERDATA | {"user_data_each": each}
        play(one, DEPLOY, **params)
        first, seen = url(one), changes(one)
        play(one, RECONFIGURE, **params | keys, move_discovery="a")
        registered = ["registerUserData"] * (3 if each else 1) if may_expunge else []
        deleted = ["deleteUserData"] * len(registered)
        updates = ["updateVirtualMachine", "rebootVirtualMachine"] * 3
        assert changes(one)[len(seen) :] == [*registered, *updates, *deleted]
        assert url(one) != first and len(discovery.members(url(one))) == 3
        second = url(one)
        play(one, RECONFIGURE, **params | keys, move_discovery="b")
        assert len({first, second, url(one)}) == 3 and len(discovery.members(url(one))) == 3
        given = {m.get("userdataid") for m in machines(one).values()}
        assert given == ({r["id"] for r in one.list("listUserData")} or {None})
        seen = changes(one)
        play(one, RECONFIGURE, **params | keys, move_discovery="b")
        for stage in (DEPLOY, VERIFY):
            play(one, stage, **params | keys)
        assert changes(one) == seen
        play(one, REMOVE, **params | keys)
        assert one.list("listUserData") == []


@pytest.mark.parametrize("address", ["x'$(id)'", "-oProxyCommand=id", "10.1.0.7\n"])
def test_only_an_address_reaches_ssh(tmp_path, address):
    with pytest.raises(CheckFailed, match="wanted an IP address"):
        login.argv("core", address, "vm-1", tmp_path / "known", "me@ws:2222")


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("etcd"), reason="needs Debian's etcd-server")
class TestReal:
    @pytest.fixture
    def real(self, neutral, tmp_path):
        with neutral.running(tmp_path / "cloud", real_etcd=True) as one:
            play(one, DEPLOY, **USERDATA)
            yield one

    def etcdctl(self, cloud, *words: str) -> str:
        ip = machines(cloud)[FIRST]["nic"][0]["ipaddress"]
        command = ["etcdctl", "--endpoints", f"http://{ip}:2379", *words]
        env = os.environ | {"ETCDCTL_API": "3"}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    def test_a_cluster_keeps_its_members_and_data_with_a_new_token(self, real):
        play(real, VERIFY, **USERDATA)
        first, ids = url(real), self.etcdctl(real, "member", "list")
        self.etcdctl(real, "put", "a", "b")
        play(real, RECONFIGURE, **USERDATA, move_discovery="a")
        assert url(real) != first and discovery.members(url(real)) == {}
        (entry,) = Journal(real.folder, first.rpartition("/")[0]).every()[-1:]
        assert (entry.command, entry.state) == ("new token", "done")
        odd = [r for r in play(real, VERIFY, **USERDATA)["found"] if r.ok != "✓"]
        assert [(r.ok, r.found) for r in odd] == [("-", "not listed")] * 3
        assert "bootstrap only" in odd[0].next
        assert sorted(self.etcdctl(real, "member", "list").split()) == sorted(ids.split())
        assert self.etcdctl(real, "get", "a").split() == ["a", "b"]

    def test_a_cluster_whose_token_was_spent_forms_with_a_new_one(self, neutral, tmp_path):
        with neutral.running(tmp_path / "cloud", real_etcd=True) as one:
            for n in (1, 2, 3):
                value = {"value": f"n{n}=http://127.9.9.{n}:2380"}
                requests.put(f"{url(one)}/{n}{n}", data=value, timeout=5).raise_for_status()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("lib.config.demand_usable", lambda *_: None)
                play(one, DEPLOY, **USERDATA)
            rows = play(one, VERIFY, **USERDATA, stop_at="verify", mode="plan")["found"]
            assert sum("reused token" in r.next for r in rows) == 3
            play(one, RECONFIGURE, **USERDATA, move_discovery="a")
            assert {r.ok for r in play(one, VERIFY, **USERDATA)["found"]} == {"✓"}

    def test_no_machine_reboots_while_the_quorum_depends_on_it(self, real, keys):
        play(real, VERIFY, **USERDATA)
        dead = machines(real)[THIRD]
        etcd.end(real.server.cloud, dead)
        seen = changes(real)
        hurry(real, 10)
        with pytest.raises(CheckFailed, match=f"while {FIRST} reboots: wanted 2 or more"):
            play(real, RECONFIGURE, **USERDATA | keys)
        assert changes(real) == seen
        real.clock = time.monotonic
        real.call("rebootVirtualMachine", id=dead["id"])
        play(real, RECONFIGURE, **USERDATA | keys)

    def test_the_next_machine_waits_until_the_last_one_is_back(self, real, keys, monkeypatch):
        play(real, VERIFY, **USERDATA)
        monkeypatch.setattr(etcd, "run", lambda *_: "nothing: the image is broken")
        hurry(real, 10)
        with pytest.raises(CheckFailed, match=rf"{FIRST}: wanted back.*No other machine"):
            play(real, RECONFIGURE, **USERDATA | keys)
        assert changes(real).count("rebootVirtualMachine") == 1
