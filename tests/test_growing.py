"""A running cluster gets more members, loses some, and has one replaced: real etcds."""

import contextlib
import json
import subprocess

import pytest
from clusters import MINE, NAMES, SYSTEM, address, form, kill_etcd, silence, wrong
from harness import FLATCAR, USERDATA, changes, client, fault, hurry, machines, play, play_to
from registries import answering, until
from stages import CHECK, DEPLOY, RECONFIGURE, REMOVE, SHRINK, TEMPLATE, VERIFY, WRITE

from lib.errors import CheckFailed, CloudError, ParamsError

FOUR = [*NAMES, "mine-4"]


@pytest.fixture
def cloud(etcd_cloud):
    return etcd_cloud


def members(cloud, name: str = "mine-1") -> dict[str, bool]:
    """Return the address of each member that an etcd lists, and whether it has started."""
    command = ["etcdctl", f"--endpoints=http://{address(cloud, name)}:2379", "member", "list"]
    done = subprocess.run([*command, "-w", "json"], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["members"]
    return {r["peerURLs"][0][7:].split(":")[0]: bool(r.get("name")) for r in rows}


def demand_members(cloud, names: list[str]) -> None:
    """Fail unless these machines are the members, and each has started."""
    assert members(cloud) == {address(cloud, name): True for name in names}


def destroy(cloud, name: str) -> None:
    cloud.call("destroyVirtualMachine", id=machines(cloud)[name]["id"])
    until(lambda: name not in machines(cloud), "the end of a machine")


class Electing(dict):
    """Answers of etcds that have no leader for the first `looks` requests."""

    def get(self, path, default=None):
        if path != "/health":
            return super().get(path, default)
        self.looks -= 1
        status = 503 if self.looks >= 0 else 200
        return status, {"health": "true" if status == 200 else "false"}


class TestReal:
    pytestmark = SYSTEM

    @pytest.mark.parametrize("discovery", ["static", "local"])
    def test_more_members_join_one_by_one(self, cloud, discovery, capsys, keys):
        form(cloud, discovery=discovery)
        five = {"discovery": discovery, "cluster_size": 5}
        writes, deploys = (
            play(cloud, s, **MINE, **five, mode="plan")["plan"] for s in (WRITE, DEPLOY)
        )
        assert [s.command for s in writes] == ["rewrite"] * (discovery == "static")
        assert [s.what for s in deploys if s.command == "member add"] == ["mine-4", "mine-5"]
        form(cloud, **five)
        demand_members(cloud, [*FOUR, "mine-5"])
        assert "etcd has done it" not in capsys.readouterr().out and wrong(cloud, **five) == {}
        play(cloud, RECONFIGURE, **MINE, **five, mode="plan")
        assert "no machine is configured with other lines" in capsys.readouterr().out
        play(cloud, RECONFIGURE, **MINE, **five, **keys)
        assert wrong(cloud, **five, **keys) == {}

    def test_members_of_a_role_join_with_the_text_of_their_role(self, cloud):
        def roles(count: int) -> dict:
            return {"discovery": "local", "roles": [{"name": n, "count": count} for n in "ab"]}

        form(cloud, **roles(1))
        form(cloud, **roles(2))
        joined = {address(cloud, name) for name in ("mine-a-1", "mine-a-2")}
        assert set(members(cloud, "mine-a-1")) == joined
        assert wrong(cloud, **roles(2)) == {}

    def test_fewer_members_leave_etcd_before_their_machines_go(self, cloud):
        three, four = ({"discovery": "static", "cluster_size": n} for n in (3, 4))
        form(cloud, **four)
        gone = address(cloud, "mine-4")
        rows = wrong(cloud, **three)
        assert "80-remove-machines" in rows["state of mine-4"].next
        assert not [row for row in rows.values() if "stranger" in row.found]
        plan = play(cloud, SHRINK, **MINE, **three, mode="plan")["plan"]
        steps = [(s.command, s.what) for s in plan[:2]]
        assert steps == [("member remove", "mine-4"), ("updateVirtualMachine", "mine-4")]
        assert len(machines(cloud)) == 4 and gone in members(cloud)
        play(cloud, SHRINK, **MINE, **three)
        demand_members(cloud, NAMES)
        assert set(machines(cloud)) == set(NAMES)
        form(cloud, **three)
        assert wrong(cloud, **three) == {}
        form(cloud, **four)
        assert gone not in members(cloud) and address(cloud, "mine-4") in members(cloud)
        assert wrong(cloud, **four) == {}

    @pytest.mark.parametrize("discovery, expunge", [("static", 0), ("local", 0), ("static", 1)])
    def test_a_broken_member_is_replaced_by_another_machine_of_its_name(
        self, cloud, discovery, expunge, capsys
    ):
        cloud.call("configureSimulator", name="expunge", value=f"allowed:{expunge}")
        form(cloud, discovery=discovery)
        before, at = machines(cloud)["mine-2"], address(cloud, "mine-2")
        silence(cloud, "mine-2")
        play(cloud, SHRINK, **MINE, replace="mine-2")
        assert len(members(cloud)) == 2 and "mine-2" not in machines(cloud)
        form(cloud, discovery=discovery)
        assert machines(cloud)["mine-2"]["id"] != before["id"]
        assert (address(cloud, "mine-2") == at) == bool(expunge)
        demand_members(cloud, NAMES)
        seen = changes(cloud)
        capsys.readouterr()
        play(cloud, SHRINK, **MINE, replace="mine-2")
        assert changes(cloud) == seen and "it is not replaced" in capsys.readouterr().out
        play(cloud, CHECK, "check-workstation", **MINE, discovery=discovery)

    def test_a_change_that_would_cost_the_quorum_is_refused(self, cloud):
        form(cloud, discovery="static")
        silence(cloud, "mine-2")
        seen, two = changes(cloud), {"cluster_size": 2, "discovery": "static"}
        hurry(cloud, 20)
        with pytest.raises(CheckFailed, match="healthy members without mine-3: wanted 2 or more"):
            play(cloud, SHRINK, **MINE, **two)
        with pytest.raises(CheckFailed, match="healthy members before mine-4 joins: wanted all"):
            form(cloud, discovery="static", cluster_size=4)
        assert "destroyVirtualMachine" not in changes(cloud)[len(seen) :]
        kill_etcd(cloud, "mine-3")
        until(lambda: "etcd of mine-1" in wrong(cloud), "the loss of the quorum")
        for params in ({"replace": "mine-2"}, two):
            with pytest.raises(CheckFailed, match="Without a leader etcd lets no member go"):
                play(cloud, SHRINK, **MINE | params)

    def test_a_member_whose_machine_is_gone_is_taken_out_first(self, cloud):
        form(cloud, discovery="local")
        until(lambda: all(members(cloud).values()), "three members that have started")
        destroy(cloud, "mine-3")
        cloud.call("configureSimulator", name="expunge", value="allowed:1")
        with pytest.raises(CheckFailed, match=r"members of etcd that are no machine.*replace=NAME"):
            play(cloud, DEPLOY, **MINE, discovery="local")
        play(cloud, SHRINK, **MINE, replace="mine-3")
        assert len(members(cloud)) == 2

    def test_members_that_elect_a_leader_are_waited_for(self, cloud, capsys):
        form(cloud, discovery="local")
        at = [address(cloud, name) for name in NAMES]
        rows = [{"ID": a, "name": a, "peerURLs": [f"http://{a}:2380"]} for a in at]
        for name in NAMES:
            kill_etcd(cloud, name)
        destroy(cloud, "mine-3")
        hurry(cloud, 10)
        for looks, stage, more, error in (
            (2, DEPLOY, {}, "members of etcd that are no machine"),
            (99, DEPLOY, {}, "a leader of the etcd members that run: wanted one, found none"),
            (2, SHRINK, {"replace": "mine-2"}, ""),
            (99, SHRINK, {"replace": "mine-2"}, "Without a leader"),
        ):
            answers = Electing({"/v3/cluster/member/list": (200, {"members": rows})})
            answers.looks = looks
            with contextlib.ExitStack() as serving:
                for one in at[:2]:
                    serving.enter_context(answering(answers, one, 2379))
                expected = pytest.raises(CheckFailed, match=error) if error else serving
                with expected:
                    play(cloud, stage, **MINE, discovery="local", **more)
        assert "mine-2 runs, and its etcd is healthy: it is not replaced" in capsys.readouterr().out

    def test_a_member_that_was_added_before_the_run_died_is_started(self, cloud):
        form(cloud, discovery="local")
        four = {"discovery": "local", "cluster_size": 4}
        joins = play(cloud, DEPLOY, "apply", **MINE, **four)["joins"]
        joins.etcds.add("mine-4", joins.new["mine-4"], 60)
        assert members(cloud)[joins.new["mine-4"]] is False
        form(cloud, **four)
        demand_members(cloud, FOUR)

    def test_a_member_that_finds_no_host_is_taken_back(self, cloud):
        form(cloud, discovery="local")
        fault(cloud, "startVirtualMachine", "fault:fail-job;code:533;text:no")
        with pytest.raises(CloudError):
            form(cloud, discovery="local", cluster_size=4)
        assert len(members(cloud)) == 3
        form(cloud, discovery="local", cluster_size=4)
        assert len(members(cloud)) == 4


@pytest.fixture(params=["4.22", "2.2"])
def standing(request, built, tmp_path):
    """A client of a cloud with a cluster, whose machines of 2014 are stand-ins."""
    with built(VERIFY, request.param).running(tmp_path / "cloud") as one:
        yield one


def names(cloud) -> set[str]:
    return {m["name"] for m in cloud.list("listVirtualMachines")} - {"my-workstation"}


def test_a_cluster_of_2014_grows_and_shrinks_by_itself_in_both_dialects(standing, capsys):
    cloud, five = standing, {"cluster_size": 5}
    for stage in (CHECK, WRITE, DEPLOY, VERIFY):
        play(cloud, stage, **five)
    wanted = [f"coreos-cluster-{n}" for n in range(1, 6)]
    assert names(cloud) == set(wanted)
    seen = changes(cloud)
    play(cloud, SHRINK, mode="plan")
    assert changes(cloud) == seen
    play(cloud, SHRINK)
    renames = ["updateVirtualMachine"] * cloud.can_rename
    assert changes(cloud)[len(seen) :] == [*renames, "destroyVirtualMachine"] * 2
    assert "are stand-ins" in capsys.readouterr().out
    assert names(cloud) == set(wanted[:3])
    for stage in (WRITE, DEPLOY, SHRINK):
        play(cloud, stage, **five)
    assert names(cloud) == set(wanted)


def test_a_removal_that_was_cut_off_after_the_new_name_goes_on(built, tmp_path):
    two = {"cluster_size": 2}
    with built(VERIFY).running(tmp_path / "cloud") as cloud:
        fault(cloud, "destroyVirtualMachine", "fault:refuse;code:530;text:no")
        with pytest.raises(CloudError):
            play(cloud, SHRINK, **two)
        (odd,) = [m for m in cloud.list("listVirtualMachines") if m["name"].count("-") == 3]
        assert odd["name"] == f"coreos-cluster-3-{odd['id'][:8]}"
        first = play(cloud, REMOVE, mode="plan")["first"]
        assert odd["id"] in {s.params["id"] for s in first}
        play(cloud, SHRINK, **two)
        assert odd["id"] not in {m["id"] for m in cloud.list("listVirtualMachines")}


def test_of_2014_a_member_is_removed_after_its_machine_as_it_would_come_back(built, tmp_path):
    with (
        built().running(tmp_path / "cloud", real_etcd=True) as cloud,
        contextlib.ExitStack() as serving,
    ):
        play_to(cloud, DEPLOY, TEMPLATE, cluster_size=4)
        there = {m["name"]: m["nic"][0]["ipaddress"] for m in cloud.list("listVirtualMachines")}
        at = [there[f"coreos-cluster-{n}"] for n in range(1, 5)]
        answers = {
            "/v2/machines": (200, ", ".join(f"http://{a}:4001" for a in at)),
            "/v2/leader": (200, ""),
            "/v2/stats/self": (200, "{}"),
        }
        rows = [{"name": f"m{n}", "peerURL": f"http://{a}:7001"} for n, a in enumerate(at, 1)]
        peers = {"/v2/admin/machines": (200, rows), "/v2/admin/machines/m4": (200, "")}
        requests = []
        for one in at:
            serving.enter_context(answering(answers, one, 4001))
            requests.append(serving.enter_context(answering(peers, one, 7001)).asked)
        plan = play(cloud, SHRINK, mode="plan")["plan"]
        order = ["updateVirtualMachine", "destroyVirtualMachine", "member remove"]
        assert [s.command for s in plan] == order
        hurry(cloud, 20)
        with pytest.raises(CheckFailed, match="the members of etcd without coreos-cluster-4"):
            play(cloud, SHRINK)  # these go on listing it
        assert any("DELETE /v2/admin/machines/m4" in sent for sent in requests[:3])
        assert requests[3] == []
        answers["/v2/leader"] = (500, "")
        with pytest.raises(CheckFailed, match="Without a leader"):
            play(cloud, SHRINK, cluster_size=2)


def test_no_member_joins_or_leaves_where_no_etcd_can_be_asked(built, tmp_path, monkeypatch):
    with built(**USERDATA).running(tmp_path / "cloud") as cloud:
        for stage in (WRITE, DEPLOY):
            play(cloud, stage, **MINE)
        monkeypatch.setenv("HOME", str(cloud.server.folder / "workstation/home"))
        far, seen = client(cloud.server, shell=None), changes(cloud)
        for stage, more in (
            (DEPLOY, {"cluster_size": 4}),
            (SHRINK, {"cluster_size": 2}),
            (SHRINK, {"replace": "mine-2"}),
        ):
            with pytest.raises(CheckFailed, match="Nothing was sent"):
                play(far, stage, **MINE, **more)
        row = play(far, CHECK, "check-template", **MINE, cluster_size=4)["rows"][-1]
        assert (row.what, row.ok) == ("members that join", "✗")
        assert changes(cloud) == seen


def test_a_machine_cannot_become_a_member_by_its_disk_alone(built, tmp_path):
    with built(**FLATCAR).running(tmp_path / "cloud") as cloud:
        play(cloud, DEPLOY, **FLATCAR)
        with pytest.raises(CheckFailed, match="Set etcd_members to their number"):
            play(cloud, DEPLOY, **FLATCAR, cluster_size=4)


def test_a_machine_to_replace_must_be_one_of_the_cluster(server):
    with pytest.raises(ParamsError, match="replace: wanted one of mine-1, mine-2, mine-3"):
        play(client(server), SHRINK, **MINE, replace="mine-9")
