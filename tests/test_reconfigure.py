"""Machines that run are given another configuration: one at a time, the old one kept."""

import json
import os
import shutil
import subprocess
import time

import pytest
import requests
from harness import FLATCAR, KEY, OLD, STAGES, USERDATA, changes, fault, home, machines, play

from lib.cluster import login, reconfigure
from lib.config import discovery
from lib.errors import CheckFailed, JobFailed, OutOfSight, ParamsError, ShellFailed
from lib.localcloud.guests import etcd
from lib.localcloud.workstation import images
from lib.record.journal import Entry, Journal
from lib.workstation import files as writes
from lib.workstation.shell import connect_shell, run

SEVENTY, SIXTY = "70-reconfigure-cluster", "60-verify-cluster"


@pytest.fixture
def cloud(request, built, tmp_path):
    """A client of a local cloud with a cluster, by default of today's dialect."""
    dialect = getattr(request, "param", "4.22")
    params = OLD if dialect == "2.2" else {}
    with built(SIXTY, dialect, **params).running(tmp_path / "cloud") as one:
        one.params = {"machine_user": "core"} | params
        yield one


@pytest.fixture
def neutral(built):
    """A local cloud with a neutral template."""
    return built(**USERDATA)


both_dialects = pytest.mark.parametrize("cloud", ["4.22", "2.2"], indirect=True)


def on_disk(cloud, name: str) -> dict[str, str]:
    """Return the files in the folder of the user data on a machine's disk."""
    machine = str(machines(cloud)[name]["id"])
    disk = json.loads((cloud.server.folder / "machines" / machine / "disk.json").read_text())
    files = images.tree(cloud.server.folder / disk, 9).items()
    return {k.rpartition("/")[2]: v.decode() for k, v in files if "-install/" in k}


def nodes_entry(cloud, name: str) -> Entry:
    """Return the one entry of the journal on a file that was written on a machine."""
    machine = f"{name}, id {machines(cloud)[name]['id']}"
    (entry,) = Journal(cloud.folder, machine).every()
    assert entry.command == "write" and entry.what.endswith(f"user_data on {name}")
    return entry


def url(cloud) -> str:
    texts = [home(cloud) / n for n in ("user-data.yml", "cloud-config.yml")]
    return discovery.url_in(next(t for t in texts if t.exists()).read_text())


def interrupted(*_, **__):
    raise KeyboardInterrupt


@both_dialects
def test_other_keys_are_shown_then_given_to_one_machine_after_the_other(cloud, keys, capsys):
    before, asked = on_disk(cloud, "coreos-cluster-1")["user_data"], cloud.params | keys
    seen = changes(cloud)
    play(cloud, SEVENTY, **asked, mode="plan")
    said = capsys.readouterr().out
    assert said.count(f"+  - {KEY}") == 3 and "rehearsal only" in said
    assert changes(cloud) == seen and on_disk(cloud, "coreos-cluster-1")["user_data"] == before
    play(cloud, SEVENTY, **asked)
    assert changes(cloud)[len(seen) :] == ["rebootVirtualMachine"] * 3
    for name in machines(cloud):
        files = on_disk(cloud, name)
        assert KEY in files.pop("user_data")
        assert list(files.values()) == [before] and next(iter(files)).startswith("user_data.2")
        written = nodes_entry(cloud, name)
        told, new = written.params, on_disk(cloud, name)["user_data"]
        assert (told["before"], told["after"]) == (writes.sha256(before), writes.sha256(new))
        assert written.state == "done" and written.text.endswith(next(iter(files)))
        assert told["kept"].endswith(next(iter(files))) and KEY not in str(written)
    seen = changes(cloud)
    play(cloud, SEVENTY, **asked)
    for stage in STAGES:
        play(cloud, stage, **asked)
    assert changes(cloud) == seen, "something was left to do"


@both_dialects
def test_a_cluster_moves_to_a_new_token_once_for_each_word(cloud, capsys):
    first = url(cloud)
    play(cloud, SEVENTY, **cloud.params, move_discovery="2014-07-19", mode="plan")
    assert url(cloud) == first and len(discovery.members(first)) == 3
    play(cloud, SEVENTY, **cloud.params, move_discovery="2014-07-19")
    second = url(cloud)
    addresses = {m["nic"][0]["ipaddress"] for m in machines(cloud).values()}
    assert second != first and set(discovery.members(second).values()) == addresses
    assert {r.ok for r in play(cloud, SIXTY, **cloud.params)["found"]} == {"✓", "-"}
    kept = [p.read_text() for p in home(cloud).glob("cloud-config.yml.2*")]
    assert [discovery.url_in(t) for t in kept] == [first]
    seen = changes(cloud)
    for stage in (*STAGES, SEVENTY):
        play(cloud, stage, **cloud.params, move_discovery="2014-07-19")
    assert url(cloud) == second and changes(cloud) == seen
    play(cloud, SEVENTY, **cloud.params, move_discovery="2014-07-20")
    assert url(cloud) != second
    said = capsys.readouterr().out
    secret = [u.rpartition("/")[2] for u in (first, second, url(cloud))]
    play(cloud, "90-remove-cluster", **cloud.params)
    assert not home(cloud).exists()
    journal = (cloud.folder / "journal.jsonl").read_text()
    assert not [t for t in secret if t in said or t in journal]
    shell = connect_shell(cloud.profile.shell, "")
    noted = Journal(cloud.folder, writes.workstation(shell)).every()
    assert [e.command for e in noted] == ["move", "write", "move", "write", "delete"]
    assert {e.state for e in noted} == {"done"} and "cloud-config.yml.2" in noted[0].text
    assert noted[1].params["after"] == noted[2].params["before"]


@pytest.mark.parametrize("where", ["config.apply_write", "tell"])
def test_a_move_that_was_cut_off_is_ended_without_a_third_token(cloud, monkeypatch, where):
    first, work = url(cloud), home(cloud) / "cloud-config.yml"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"lib.cluster.reconfigure.{where}", interrupted)
        play(cloud, SEVENTY, **cloud.params, move_discovery="a")
    written = url(cloud) if work.exists() else ""
    play(cloud, SEVENTY, **cloud.params)  # also when nobody asks for it any more
    assert url(cloud) == written or not written
    assert url(cloud) != first and len(discovery.members(url(cloud))) == 3
    seen = changes(cloud)
    play(cloud, SEVENTY, **cloud.params, move_discovery="a")
    assert changes(cloud) == seen


@both_dialects
def test_a_machine_that_was_written_to_but_not_rebooted_is_rebooted_the_next_time(cloud, keys):
    fault(cloud, "rebootVirtualMachine", "fault:fail-job;code:530;text:Failed to reboot")
    with pytest.raises(JobFailed, match="Failed to reboot"):
        play(cloud, SEVENTY, **cloud.params | keys)
    assert KEY in on_disk(cloud, "coreos-cluster-1")["user_data"]
    assert KEY not in on_disk(cloud, "coreos-cluster-2")["user_data"]
    then = play(cloud, SEVENTY, **cloud.params | keys)["plan"].then
    assert [(s.command, s.what[-1]) for s in then][:2] == [
        ("rebootVirtualMachine", "1"), ("rewrite", "2")]  # fmt: skip


def test_what_the_machine_finds_invalid_is_not_written(cloud, keys):
    program = cloud.server.folder / "machines/bin/coreos-cloudinit"
    said = 'case "$*" in *-h*) echo " -validate" ;; *) echo "line 1: error: no"; exit 1 ;; esac'
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    before, seen = on_disk(cloud, "coreos-cluster-1"), changes(cloud)
    with pytest.raises(CheckFailed, match=r"(?s)line 1: error: no.*It is as it was"):
        play(cloud, SEVENTY, **cloud.params | keys)
    assert on_disk(cloud, "coreos-cluster-1") == before and changes(cloud) == seen
    program.unlink()
    play(cloud, SEVENTY, **cloud.params | keys)


def test_a_text_that_is_no_utf8_is_taken_for_what_it_is(cloud):
    shell = login.connect(login.Access(cloud, "core"), machines(cloud)["coreos-cluster-2"])
    file = login.FILE.format("coreos")
    asked = f"sh -c 'printf \"# J\\374rgen\\n\" >>{file}; sha256sum <{file}'"
    before = run(shell, asked, sudo=True).out[:64]
    play(cloud, SEVENTY, **cloud.params)
    written = nodes_entry(cloud, "coreos-cluster-2")
    assert (written.state, written.params["before"]) == ("done", before)
    assert play(cloud, SEVENTY, **cloud.params)["plan"].then == []


@pytest.mark.parametrize("written", [True, False])
def test_a_write_that_was_not_seen_to_end_is_looked_for(cloud, keys, monkeypatch, capsys, written):
    def lost(shell, command, **more):
        if "cp -p" in command and more.get("sudo"):
            if written:
                run(shell, command, **more)
            raise OutOfSight(command, 255, "Connection closed")
        return run(shell, command, **more)

    run = login.run
    with monkeypatch.context() as patch, pytest.raises(ShellFailed, match="it looks first"):
        patch.setattr(login, "run", lost)
        play(cloud, SEVENTY, **cloud.params | keys)
    assert nodes_entry(cloud, "coreos-cluster-1").state == "intent"
    then = play(cloud, SEVENTY, **cloud.params | keys)["plan"].then
    assert [s.command for s in then if s.what == "coreos-cluster-1"] == (
        ["rebootVirtualMachine"] if written else ["rewrite", "rebootVirtualMachine"]
    )
    said = "left open before: it was " + ("done" if written else "not done")
    assert f"user_data on coreos-cluster-1, {said}" in capsys.readouterr().out
    machine = f"coreos-cluster-1, id {machines(cloud)['coreos-cluster-1']['id']}"
    states = [e.state for e in Journal(cloud.folder, machine).every()]
    assert states == (["adopted"] if written else ["not-sent", "done"])


def test_what_was_changed_on_a_machine_since_it_was_shown_is_not_written_over(
    cloud, keys, monkeypatch
):
    def changed(shell, command, **more):
        if "cp -p" in command and more.get("sudo"):
            run(shell, f"sh -c 'echo >>{login.FILE.format('coreos')}'", sudo=True)
        return run(shell, command, **more)

    run, seen = login.run, changes(cloud)
    with monkeypatch.context() as patch, pytest.raises(CheckFailed, match="changed meanwhile"):
        patch.setattr(login, "run", changed)
        play(cloud, SEVENTY, **cloud.params | keys)
    assert nodes_entry(cloud, "coreos-cluster-1").state == "failed"
    assert changes(cloud) == seen and list(on_disk(cloud, "coreos-cluster-1")) == ["user_data"]


def test_a_plan_that_would_be_another_one_by_now_is_not_carried_out(cloud, keys):
    at_apply = play(cloud, SEVENTY, **cloud.params | keys, stop_at="apply")
    shell = login.connect(login.Access(cloud, "core"), machines(cloud)["coreos-cluster-2"])
    meant = at_apply["plan"].texts["coreos-cluster-2"].encode()
    run(shell, f"sh -c 'cat >{login.FILE.format('coreos')}'", sudo=True, stdin=meant)
    before, seen = url(cloud), changes(cloud)
    with pytest.raises(
        CheckFailed, match=r"(?s)no longer the one shown.*-rewrite coreos-cluster-2"
    ):
        reconfigure.apply(at_apply["target"], at_apply["plan"], "apply", within=9)
    assert changes(cloud) == seen and url(cloud) == before


def test_a_machine_that_does_not_run_stops_it_before_anything_is_changed(cloud, keys):
    cloud.call("stopVirtualMachine", id=machines(cloud)["coreos-cluster-3"]["id"])
    seen = changes(cloud)
    with pytest.raises(CheckFailed, match="coreos-cluster-3: wanted Running"):
        play(cloud, SEVENTY, **cloud.params | keys)
    assert changes(cloud) == seen


@pytest.mark.parametrize(
    "wrong, error, said",
    [
        ({"machine_user": ""}, ParamsError, "machine_user: wanted who logs in"),
        ({"machine_user": "-oProxyCommand=x"}, ParamsError, "machine_user: wanted the name"),
        (FLATCAR | {"config_format": "ignition"}, CheckFailed, "first boot only"),
        (FLATCAR | {"discovery": "static", "move_discovery": "a"}, ParamsError, "move_discovery"),
    ],
)
def test_what_cannot_be_is_refused(cloud, wrong, error, said):
    with pytest.raises(error, match=said):
        play(cloud, SEVENTY, **cloud.params | wrong)


@pytest.mark.parametrize("begun", ["disk", "userdata"])
def test_another_delivery_than_the_cluster_was_made_with_is_refused(
    built, neutral, tmp_path, keys, begun, monkeypatch
):
    flatcar = built(**FLATCAR) if begun == "disk" else neutral
    other = {"disk": "userdata", "userdata": "disk"}[begun]
    asked = FLATCAR | {"machine_user": "core", "config_delivery": other}
    with flatcar.running(tmp_path / "cloud") as one:
        play(one, "50-deploy-cluster", **FLATCAR, config_delivery=begun)
        before = {p.name: p.read_bytes() for p in home(one).iterdir()}
        seen = changes(one)
        for move in ("", "a"):
            with pytest.raises(CheckFailed, match="the parameters ask for"):
                play(one, SEVENTY, **asked | keys, move_discovery=move)
        assert {p.name: p.read_bytes() for p in home(one).iterdir()} == before
        assert changes(one) == seen
        if begun == "disk":
            return
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("lib.cluster.reconfigure._set_aside", interrupted)
            play(one, SEVENTY, **USERDATA, move_discovery="a")
        with pytest.raises(CheckFailed, match="the parameters ask for"):
            play(one, SEVENTY, **asked)  # a move that was begun is not ended in the wrong file
        play(one, SEVENTY, **USERDATA)


def test_user_data_that_a_server_does_not_tell_are_refused(old_cloud):
    with pytest.raises(CheckFailed, match=r"4\.18 or newer"):
        play(old_cloud, SEVENTY, **USERDATA)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("may_expunge", [0, 1])
def test_user_data_are_given_at_the_cloud(neutral, tmp_path, keys, monkeypatch, each, may_expunge):
    monkeypatch.setattr(writes, "now", lambda: "20260304T050607Z")  # two moves within a second
    with neutral.running(tmp_path / "cloud", may_expunge=may_expunge) as one:
        asked = USERDATA | {"user_data_each": each}
        play(one, "50-deploy-cluster", **asked)
        first, seen = url(one), changes(one)
        play(one, SEVENTY, **asked | keys, move_discovery="a")
        kept = ["registerUserData"] * (3 if each else 1) if may_expunge else []
        gone = ["deleteUserData"] * len(kept)
        updates = ["updateVirtualMachine", "rebootVirtualMachine"] * 3
        assert changes(one)[len(seen) :] == [*kept, *updates, *gone]
        assert url(one) != first and len(discovery.members(url(one))) == 3
        second = url(one)
        play(one, SEVENTY, **asked | keys, move_discovery="b")
        assert len({first, second, url(one)}) == 3 and len(discovery.members(url(one))) == 3
        given = {m.get("userdataid") for m in machines(one).values()}
        assert given == ({r["id"] for r in one.list("listUserData")} or {None})
        seen = changes(one)
        play(one, SEVENTY, **asked | keys, move_discovery="b")
        for stage in ("50-deploy-cluster", SIXTY):
            play(one, stage, **asked | keys)
        assert changes(one) == seen
        play(one, "90-remove-cluster", **asked | keys)
        assert one.list("listUserData") == []


def test_ssh_goes_through_the_workstation_whose_key_must_be_known(tmp_path):
    command = login.argv("core", "10.1.0.7", "vm-1", tmp_path / "known", "me@ws:2222")
    text = " ".join(command)
    assert "StrictHostKeyChecking=accept-new" in command and "HostKeyAlias=vm-1" in command
    (jump,) = [o for o in command if o.startswith("ProxyCommand=")]
    assert "StrictHostKeyChecking=yes" in jump and "-p 2222" in jump and "me@ws" in jump
    assert "accept-new" not in jump and "=no " not in text
    assert command[-2:] == ("core@10.1.0.7", "exec /bin/sh")


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
            play(one, "50-deploy-cluster", **USERDATA)
            yield one

    def etcdctl(self, cloud, *words: str) -> str:
        ip = machines(cloud)["coreos-cluster-1"]["nic"][0]["ipaddress"]
        command = ["etcdctl", "--endpoints", f"http://{ip}:2379", *words]
        env = os.environ | {"ETCDCTL_API": "3"}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    def test_a_formed_cluster_moves_to_a_new_token_with_its_members_and_data(self, real):
        play(real, SIXTY, **USERDATA)
        first, ids = url(real), self.etcdctl(real, "member", "list")
        self.etcdctl(real, "put", "a", "b")
        play(real, SEVENTY, **USERDATA, move_discovery="a")
        assert url(real) != first and discovery.members(url(real)) == {}
        (asked,) = Journal(real.folder, first.rpartition("/")[0]).every()[-1:]
        assert (asked.command, asked.state) == ("new token", "done")
        odd = [r for r in play(real, SIXTY, **USERDATA)["found"] if r.ok != "✓"]
        assert [(r.ok, r.found) for r in odd] == [("-", "not listed")] * 3
        assert "bootstrap only" in odd[0].next
        assert sorted(self.etcdctl(real, "member", "list").split()) == sorted(ids.split())
        assert self.etcdctl(real, "get", "a").split() == ["a", "b"]

    def test_a_cluster_whose_token_was_spent_forms_with_a_new_one(self, neutral, tmp_path):
        with neutral.running(tmp_path / "cloud", real_etcd=True) as one:
            text = home(one) / "user-data.yml"
            for n in (1, 2, 3):
                value = {"value": f"n{n}=http://127.9.9.{n}:2380"}
                requests.put(f"{url(one)}/{n}{n}", data=value, timeout=5).raise_for_status()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("lib.config.demand_usable", lambda *_: None)
                play(one, "50-deploy-cluster", **USERDATA)
            rows = play(one, SIXTY, **USERDATA, stop_at="verify", mode="plan")["found"]
            assert sum("reused token" in r.next for r in rows) == 3
            play(one, SEVENTY, **USERDATA, move_discovery="a")
            assert {r.ok for r in play(one, SIXTY, **USERDATA)["found"]} == {"✓"}
            assert text.exists()

    def test_no_machine_reboots_while_the_quorum_hangs_on_it(self, real, keys):
        play(real, SIXTY, **USERDATA)
        dead = machines(real)["coreos-cluster-3"]
        etcd.end(real.server.cloud, dead)
        seen = changes(real)
        real.clock = iter(range(0, 10**6, 10)).__next__
        with pytest.raises(CheckFailed, match="while coreos-cluster-1 reboots: wanted 2 or more"):
            play(real, SEVENTY, **USERDATA | keys)
        assert changes(real) == seen
        real.clock = time.monotonic
        real.call("rebootVirtualMachine", id=dead["id"])
        play(real, SEVENTY, **USERDATA | keys)

    def test_the_next_machine_waits_until_the_last_one_is_back(self, real, keys, monkeypatch):
        play(real, SIXTY, **USERDATA)
        monkeypatch.setattr(etcd, "run", lambda *_: "nothing: the image is broken")
        real.clock = iter(range(0, 10**6, 10)).__next__
        with pytest.raises(CheckFailed, match=r"coreos-cluster-1: wanted back.*No other machine"):
            play(real, SEVENTY, **USERDATA | keys)
        assert changes(real).count("rebootVirtualMachine") == 1
