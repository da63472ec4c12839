"""A cluster that runs takes in more members, loses some, and has one replaced: real etcds."""

import contextlib
import json
import shutil
import subprocess

import pytest
from harness import OLD, USERDATA, changes, client, fault, machines, play, play_to, running
from registries import answering, until

from lib.errors import CheckFailed, CloudError, ParamsError
from lib.localcloud.guests import etcd

system = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("etcd"), reason="needs Debian's etcd-server"),
]
MINE = USERDATA | {"cluster_name": "mine", "work_dir": "mine"}
NAMES = ["mine-1", "mine-2", "mine-3"]
EIGHTY = "80-remove-machines"
STAGES = ("20-write-cloud-config", "50-deploy-cluster", "60-verify-cluster")


@pytest.fixture
def cloud(built, tmp_path):
    """A client of a cloud with a neutral template, whose machines run real etcds."""
    with built(**USERDATA).running(tmp_path / "cloud", real_etcd=True) as one:
        yield one


def form(cloud, **more) -> None:
    for stage in STAGES:
        play(cloud, stage, **MINE, **more)


def address(cloud, number: int | str) -> str:
    return machines(cloud)[f"mine-{number}"]["nic"][0]["ipaddress"]


def members(cloud, number: int | str = 1) -> dict[str, bool]:
    """Return the address of each member that an etcd lists, and whether it has started."""
    command = ["etcdctl", f"--endpoints=http://{address(cloud, number)}:2379", "member", "list"]
    said = subprocess.run([*command, "-w", "json"], capture_output=True, text=True, check=True)
    rows = json.loads(said.stdout)["members"]
    return {r["peerURLs"][0][7:].split(":")[0]: bool(r.get("name")) for r in rows}


def wrong(cloud, **more) -> dict[str, str]:
    """Return what 60 finds wrong, without waiting."""
    rows = play(cloud, "60-verify-cluster", "verify", **MINE | more, mode="plan")["found"]
    return {r.title: r.found for r in rows if r.ok == "✗"}


class Electing(dict):
    """Answers of etcds that have no leader for some looks at them."""

    def get(self, path, default=None):
        if path != "/health":
            return super().get(path, default)
        self.looks -= 1
        status = 503 if self.looks >= 0 else 200
        return status, {"health": "true" if status == 200 else "false"}


class TestReal:
    pytestmark = system

    @pytest.mark.parametrize("discovery", ["static", "local"])
    def test_more_members_join_one_by_one(self, cloud, discovery, capsys, keys):
        form(cloud, discovery=discovery)
        five = {"discovery": discovery, "cluster_size": 5}
        steps = [play(cloud, s, **MINE, **five, mode="plan")["plan"] for s in STAGES[:2]]
        assert [s.command for s in steps[0]] == ["rewrite"] * (discovery == "static")
        assert [s.what for s in steps[1] if s.command == "member add"] == ["mine-4", "mine-5"]
        form(cloud, **five)
        assert members(cloud) == dict.fromkeys([address(cloud, n) for n in range(1, 6)], True)
        said = capsys.readouterr().out
        assert said.count("etcd has done it") == 0 and wrong(cloud, **five) == {}
        play(cloud, "70-reconfigure-cluster", **MINE, **five, mode="plan")
        assert "no machine is configured with other lines" in capsys.readouterr().out
        play(cloud, "70-reconfigure-cluster", **MINE, **five, **keys)
        assert wrong(cloud, **five, **keys) == {}

    def test_members_of_a_role_join_with_the_text_of_their_role(self, cloud):
        how = {"discovery": "local"}
        form(cloud, **how, roles=[{"name": "a", "count": 1}, {"name": "b", "count": 1}])
        more = how | {"roles": [{"name": "a", "count": 2}, {"name": "b", "count": 2}]}
        form(cloud, **more)
        at = {n: m["nic"][0]["ipaddress"] for n, m in machines(cloud).items()}
        assert set(members(cloud, "a-1")) == {at["mine-a-1"], at["mine-a-2"]}
        assert wrong(cloud, **more) == {}

    def test_fewer_members_leave_etcd_before_their_machines_go(self, cloud):
        four = {"discovery": "static", "cluster_size": 4}
        form(cloud, **four)
        gone, kept = address(cloud, 4), [address(cloud, n) for n in (1, 2, 3)]
        three = {"discovery": "static", "cluster_size": 3}
        assert "state of mine-4" in wrong(cloud, **three)
        plan = play(cloud, EIGHTY, **MINE, **three, mode="plan")["plan"]
        assert [(s.command, s.what) for s in plan[:2]] == [
            ("member remove", "mine-4"), ("updateVirtualMachine", "mine-4")
        ]  # fmt: skip
        assert len(machines(cloud)) == 4 and gone in members(cloud)
        play(cloud, EIGHTY, **MINE, **three)
        assert set(members(cloud)) == set(kept) and set(machines(cloud)) == set(NAMES)
        form(cloud, **three)
        assert wrong(cloud, **three) == {}
        form(cloud, **four)
        assert gone not in members(cloud) and address(cloud, 4) in members(cloud)
        assert wrong(cloud, **four) == {}

    @pytest.mark.parametrize("discovery, expunge", [("static", 0), ("local", 0), ("static", 1)])
    def test_a_broken_member_is_replaced_by_another_machine_of_its_name(
        self, cloud, discovery, expunge, capsys
    ):
        cloud.call("configureSimulator", name="expunge", value=f"allowed:{expunge}")
        how = {"discovery": discovery}
        form(cloud, **how)
        before = machines(cloud)["mine-2"]
        etcd.end(cloud.server.cloud, before)
        until(lambda: set(wrong(cloud)) == {"etcd of mine-2"}, "a leader without it")
        play(cloud, EIGHTY, **MINE, replace="mine-2")
        assert len(members(cloud)) == 2 and "mine-2" not in machines(cloud)
        for stage in STAGES:
            play(cloud, stage, **MINE, **how)
        after = machines(cloud)["mine-2"]
        assert after["id"] != before["id"]
        same = after["nic"][0]["ipaddress"] == before["nic"][0]["ipaddress"]
        assert same == bool(expunge)
        assert members(cloud) == dict.fromkeys([address(cloud, n) for n in (1, 2, 3)], True)
        seen = changes(cloud)
        capsys.readouterr()
        play(cloud, EIGHTY, **MINE, replace="mine-2")
        assert changes(cloud) == seen and "it is not replaced" in capsys.readouterr().out
        play(cloud, "00-check-access", "check-workstation", **MINE, **how)

    def test_what_would_cost_the_quorum_is_refused(self, cloud):
        form(cloud, discovery="static")
        etcd.end(cloud.server.cloud, machines(cloud)["mine-2"])
        until(lambda: set(wrong(cloud)) == {"etcd of mine-2"}, "a leader without it")
        seen, two = changes(cloud), {"cluster_size": 2, "discovery": "static"}
        cloud.clock = iter(range(0, 10**6, 20)).__next__
        with pytest.raises(CheckFailed, match="healthy members without mine-3: wanted 2 or more"):
            play(cloud, EIGHTY, **MINE, **two)
        with pytest.raises(CheckFailed, match="healthy members before mine-4 joins: wanted all"):
            form(cloud, discovery="static", cluster_size=4)
        assert "destroyVirtualMachine" not in changes(cloud)[len(seen) :]
        etcd.end(cloud.server.cloud, machines(cloud)["mine-3"])
        until(lambda: "etcd of mine-1" in wrong(cloud), "the loss of the quorum")
        for params in ({"replace": "mine-2"}, two):
            with pytest.raises(CheckFailed, match="Without a leader etcd lets no member go"):
                play(cloud, EIGHTY, **MINE | params)

    def test_a_member_whose_machine_is_gone_is_taken_out_first(self, cloud):
        form(cloud, discovery="local")
        until(lambda: all(members(cloud).values()), "three members that have started")
        gone = machines(cloud)["mine-3"]
        cloud.call("destroyVirtualMachine", id=gone["id"])
        until(lambda: "mine-3" not in machines(cloud), "the end of a machine")
        cloud.call("configureSimulator", name="expunge", value="allowed:1")
        with pytest.raises(CheckFailed, match=r"members of etcd that are no machine.*replace=NAME"):
            play(cloud, STAGES[1], **MINE, discovery="local")
        play(cloud, EIGHTY, **MINE, replace="mine-3")
        assert len(members(cloud)) == 2

    def test_members_that_elect_a_leader_are_waited_for(self, cloud, capsys):
        form(cloud, discovery="local")
        at = [address(cloud, n) for n in (1, 2, 3)]
        rows = [{"ID": a, "name": a, "peerURLs": [f"http://{a}:2380"]} for a in at]
        for machine in machines(cloud).values():
            etcd.end(cloud.server.cloud, machine)
        cloud.call("destroyVirtualMachine", id=machines(cloud)["mine-3"]["id"])
        until(lambda: "mine-3" not in machines(cloud), "the end of a machine")
        local, ticks = {"discovery": "local"}, iter(range(0, 10**6, 10))
        cloud.clock = ticks.__next__
        for looks, stage, more, error in (
            (2, STAGES[1], {}, "members of etcd that are no machine"),
            (99, STAGES[1], {}, "a leader of the etcd members that run: wanted one, found none"),
            (2, EIGHTY, {"replace": "mine-2"}, ""),
            (99, EIGHTY, {"replace": "mine-2"}, "Without a leader"),
        ):
            answers = Electing({"/v3/cluster/member/list": (200, {"members": rows})})
            answers.looks = looks
            with contextlib.ExitStack() as serving:
                for address_ in at[:2]:
                    serving.enter_context(answering(answers, address_, 2379))
                expected = pytest.raises(CheckFailed, match=error) if error else serving
                with expected:
                    play(cloud, stage, **MINE, **local, **more)
        assert "mine-2 runs, and its etcd is healthy: it is not replaced" in capsys.readouterr().out

    def test_a_member_that_was_added_before_the_run_died_is_started(self, cloud):
        form(cloud, discovery="local")
        four = {"discovery": "local", "cluster_size": 4}
        joins = play(cloud, STAGES[1], "apply", **MINE, **four)["joins"]
        joins.etcds.add("mine-4", joins.new["mine-4"], 60)
        assert members(cloud)[joins.new["mine-4"]] is False
        form(cloud, **four)
        assert members(cloud) == dict.fromkeys([address(cloud, n) for n in range(1, 5)], True)

    def test_a_member_that_finds_no_host_is_taken_back(self, cloud):
        form(cloud, discovery="local")
        fault(cloud, "startVirtualMachine", "fault:fail-job;code:533;text:no")
        with pytest.raises(CloudError):
            form(cloud, discovery="local", cluster_size=4)
        assert len(members(cloud)) == 3
        form(cloud, discovery="local", cluster_size=4)
        assert len(members(cloud)) == 4


@pytest.fixture(params=["4.22", "2.2"])
def standing(request, tmp_path):
    """A client of a cloud whose machines of 2014 are stand-ins, and the parameters for it."""
    params = OLD if request.param == "2.2" else {}
    with running(tmp_path / "cloud", dialect=request.param) as one:
        play_to(one, "60-verify-cluster", **params)
        yield one, params


def test_a_cluster_of_2014_grows_and_shrinks_by_itself_in_both_dialects(standing, capsys):
    cloud, params = standing
    five = params | {"cluster_size": 5}
    play(cloud, "00-check-access", **five)
    for stage in STAGES:
        play(cloud, stage, **five)
    names = [f"coreos-cluster-{n}" for n in range(1, 6)]
    there = {m["name"]: m["nic"][0]["ipaddress"] for m in cloud.list("listVirtualMachines")}
    assert {*names, "my-workstation"} == set(there)
    seen = changes(cloud)
    play(cloud, EIGHTY, **params, mode="plan")
    assert changes(cloud) == seen
    play(cloud, EIGHTY, **params)
    renames = ["updateVirtualMachine"] * cloud.can_rename
    assert changes(cloud)[len(seen) :] == [*renames, "destroyVirtualMachine"] * 2
    assert "are stand-ins" in capsys.readouterr().out
    left = {m["name"] for m in cloud.list("listVirtualMachines")}
    assert {*names[:3], "my-workstation"} == left
    for stage in (*STAGES[:2], EIGHTY):
        play(cloud, stage, **five)
    assert {*names} <= {m["name"] for m in cloud.list("listVirtualMachines")}


def test_a_removal_that_was_cut_off_after_the_new_name_goes_on(standing):
    cloud, params = standing
    if not cloud.can_rename:
        return
    fault(cloud, "destroyVirtualMachine", "fault:refuse;code:530;text:no")
    two = params | {"cluster_size": 2}
    with pytest.raises(CloudError):
        play(cloud, EIGHTY, **two)
    (odd,) = [m for m in cloud.list("listVirtualMachines") if m["name"].count("-") == 3]
    assert odd["name"] == f"coreos-cluster-3-{odd['id'][:8]}"
    first = play(cloud, "90-remove-cluster", **params, mode="plan")["first"]
    assert odd["id"] in {s.params["id"] for s in first}
    play(cloud, EIGHTY, **two)
    assert odd["id"] not in {m["id"] for m in cloud.list("listVirtualMachines")}


def test_of_2014_a_member_goes_after_its_machine_as_it_would_come_back(tmp_path):
    four = {"cluster_size": 4}
    with running(tmp_path / "cloud", real_etcd=True) as cloud, contextlib.ExitStack() as serving:
        play_to(cloud, "50-deploy-cluster", **four)
        there = {m["name"]: m["nic"][0]["ipaddress"] for m in cloud.list("listVirtualMachines")}
        at = [there[f"coreos-cluster-{n}"] for n in range(1, 5)]
        listed = ", ".join(f"http://{a}:4001" for a in at)
        answers = {
            "/v2/machines": (200, listed),
            "/v2/leader": (200, ""),
            "/v2/stats/self": (200, "{}"),
        }
        peers = [{"name": f"m{n}", "peerURL": f"http://{a}:7001"} for n, a in enumerate(at, 1)]
        asked = []
        for address in at:
            serving.enter_context(answering(answers, address, 4001))
            rows = {"/v2/admin/machines": (200, peers)}
            peer = serving.enter_context(answering(rows, address, 7001))
            peer.answers["/v2/admin/machines/m4"] = (200, "")
            asked.append(peer.asked)
        plan = play(cloud, EIGHTY, mode="plan")["plan"]
        order = ["updateVirtualMachine", "destroyVirtualMachine", "member remove"]
        assert [s.command for s in plan] == order
        cloud.clock = iter(range(0, 10**6, 20)).__next__
        with pytest.raises(CheckFailed, match="the members of etcd without coreos-cluster-4"):
            play(cloud, EIGHTY)  # these go on listing it
        assert "DELETE /v2/admin/machines/m4" in [x for one in asked[:3] for x in one]
        assert asked[3] == []
        answers["/v2/leader"] = (500, "")
        with pytest.raises(CheckFailed, match="Without a leader"):
            play(cloud, EIGHTY, cluster_size=2)


def test_where_no_etcd_can_be_asked_no_member_comes_or_goes(built, tmp_path, monkeypatch):
    with built(**USERDATA).running(tmp_path / "cloud") as cloud:
        for stage in STAGES[:2]:
            play(cloud, stage, **MINE)
        monkeypatch.setenv("HOME", str(cloud.server.folder / "workstation/home"))
        far, seen = client(cloud.server, shell=None), changes(cloud)
        for stage, size in ((STAGES[1], 4), (EIGHTY, 2)):
            with pytest.raises(CheckFailed, match="Nothing was sent"):
                play(far, stage, **MINE, cluster_size=size)
        with pytest.raises(CheckFailed, match="Nothing was sent"):
            play(far, EIGHTY, **MINE, replace="mine-2")
        row = play(far, "00-check-access", "check-template", **MINE, cluster_size=4)["rows"][-1]
        assert (row.what, row.ok) == ("members that join", "✗")
        assert changes(cloud) == seen


def test_with_the_disk_alone_a_machine_cannot_become_a_member(tmp_path):
    baked = USERDATA | {"config_delivery": "disk", "discovery": "local"}
    with running(tmp_path / "cloud") as cloud:
        play_to(cloud, STAGES[1], **baked)
        with pytest.raises(CheckFailed, match="Set etcd_members to their number"):
            play(cloud, STAGES[1], **baked, cluster_size=4)


def test_a_machine_to_replace_must_be_one_of_the_clusters(server):
    with pytest.raises(ParamsError, match="replace: wanted one of mine-1, mine-2, mine-3"):
        play(client(server), EIGHTY, **MINE, replace="mine-9")
