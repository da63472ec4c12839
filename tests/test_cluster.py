"""Clusters of real etcds form, and faults of one are named."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from clusters import MINE, NAMES, SYSTEM, address, form, kill_etcd, silence, wrong
from harness import ROOT, USERDATA, client, fault, home, hurry, machines, play, running
from registries import answering, answers, serving, until
from stages import CHECK, RECONFIGURE, VERIFY, WRITE

from lib import config
from lib.checks import NOT_ASKED, asked, later, tick
from lib.cluster import matrix, registry
from lib.cluster import verify as verification
from lib.cluster.etcd import Answer
from lib.config import discovery, userdata
from lib.errors import CheckFailed, NotOne, ParamsError
from lib.localcloud.guests import boot, settings
from lib.machines import names
from lib.ours import Ours
from lib.workstation.shell import write_text

QUESTIONS = ["state", "offering", "address", "registered", "etcd", "ssh", "systemd", "user data"]


@pytest.fixture
def cloud(etcd_cloud):
    return etcd_cloud


def text(cloud) -> str:
    return (home(cloud, "mine") / "user-data.yml").read_text()


def deploy(cloud, name: str, user_data: str) -> str:
    """Deploy one more machine of the template without a stage; return its address."""
    (template,) = cloud.list("listTemplates", templatefilter="self")
    params = {
        "zoneid": cloud.zones[0]["id"],
        "templateid": template["id"],
        "serviceofferingid": cloud.one("listServiceOfferings", "Small Instance")["id"],
        "name": name,
        "userdata": userdata.encoded(user_data),
    }
    job = cloud.call("deployVirtualMachine", **params)["jobid"]
    until(lambda: cloud.call("queryAsyncJobResult", jobid=job)["jobstatus"], name)
    return address(cloud, name)


def log(cloud, name: str) -> str:
    ident = machines(cloud)[name]["id"]
    return (cloud.server.folder / "machines" / ident / "etcd.log").read_text()


def etcds(cloud) -> list[str]:
    """Return the command lines of this cloud's running etcds."""
    ps = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, text=True, check=True)
    return [x for x in ps.stdout.splitlines() if f"data-dir={cloud.server.folder}/" in x]


@pytest.fixture
def service(request, tmp_path):
    """The value of `discovery` for a kind of discovery service."""
    if request.param == "local":
        yield "local"
        return
    with serving(tmp_path) as base:
        yield base


class TestReal:
    pytestmark = SYSTEM

    @pytest.mark.parametrize("service", ["local", "etcd-discovery"], indirect=True)
    def test_three_machines_form_a_cluster_with_any_discovery_service(self, cloud, service):
        form(cloud, discovery=service)
        rows = play(cloud, VERIFY, **MINE)["found"]
        assert {r.ok for r in rows} == {"✓"}
        assert [r.found for r in rows if r.what == "etcd"] == ["healthy, with 3 members"] * 3
        assert [r.what for r in rows if r.of == "mine-1"] == QUESTIONS

    @pytest.mark.parametrize("discovery", ["local", "static"])
    def test_machines_beyond_the_members_join_as_proxies_and_reboot_first(
        self, cloud, discovery, keys
    ):
        three = {"etcd_members": 3, "discovery": discovery}
        form(cloud, **three)
        five = three | {"cluster_size": 5}
        form(cloud, **five)
        rows = {r.title: r for r in play(cloud, VERIFY, **MINE | five)["found"]}
        assert {r.ok for r in rows.values()} == {"✓"}
        states = [rows[f"etcd of mine-{n}"].found for n in range(1, 6)]
        assert states == [*["healthy, with 3 members"] * 3, "proxy", "proxy"]
        listed = [r.of for r in rows.values() if r.what == "registered"]
        assert listed == (NAMES if discovery == "local" else [])
        play(cloud, RECONFIGURE, **MINE | five | keys)
        booted = [e.what for e in cloud.journal.every() if e.command == "rebootVirtualMachine"]
        assert booted == ["mine-4", "mine-5", *NAMES]
        kill_etcd(cloud, "mine-5")
        ((title, row),) = wrong(cloud, **five).items()
        assert (title, row.found) == ("etcd of mine-5", "silent")

    def test_another_program_at_the_port_of_etcd_is_reported_at_once(self, cloud):
        form(cloud, discovery="static")
        kill_etcd(cloud, "mine-1")
        cloud.sleep = lambda seconds: seconds and pytest.fail("it waited")
        no_etcd = pytest.raises(CheckFailed, match="no etcd")
        with answering({}, address(cloud, "mine-1"), 2379), no_etcd:
            play(cloud, VERIFY, **MINE)

    @pytest.mark.parametrize(
        "service, fallback, state",
        [("local", "exit", "silent"), ("etcd-discovery", "proxy", "proxy")],
        indirect=["service"],
    )
    def test_a_machine_too_many_is_named(self, cloud, service, fallback, state):
        form(cloud, discovery=service)
        at = deploy(cloud, "mine-4", text(cloud).replace("fallback=exit", f"fallback={fallback}"))
        until(lambda: "full" in log(cloud, "mine-4"), "etcd's refusal")
        if state == "proxy":
            until(lambda: answers(f"http://{at}:2379/v2/config/local/proxy"), "the proxy")
        ((title, row),) = wrong(cloud).items()
        assert title == "state of mine-4" and row.found == f"Running at {at}, etcd {state}"

    @pytest.mark.parametrize("service", ["etcd-discovery"], indirect=True)
    def test_a_reused_token_is_named(self, cloud, service):
        form(cloud, discovery=service)
        first = {address(cloud, name) for name in NAMES}
        for name in ("again-1", "again-2", "again-3"):
            deploy(cloud, name, text(cloud))
            until(lambda n=name: "cluster is full" in log(cloud, n), "etcd's refusal")
        shell = play(cloud, VERIFY, **MINE)["shell"]
        write_text(shell, "again/user-data.yml", text(cloud))
        rows = wrong(cloud, cluster_name="again", work_dir="again").values()
        assert {r.of for r in rows if "reused token" in r.next} == first
        assert [r.found for r in rows if r.what == "etcd"] == ["silent"] * 3

    @pytest.mark.parametrize("lost", ["token", "service", "text"])
    def test_the_etcds_are_judged_although_a_source_is_lost(self, cloud, lost, monkeypatch):
        form(cloud)
        if lost == "token":
            cloud.server.cloud.state.setting("discovery", {"rows": {}})["rows"].clear()
        elif lost == "service":
            monkeypatch.setattr(discovery, "PAUSE", 0)
            fault(cloud, "getDiscovery", "fault:drop-before", 99)
        else:
            (home(cloud, "mine") / "user-data.yml").unlink()
        rows = play(cloud, VERIFY, **MINE)["found"]
        odd = [(r.what, r.ok) for r in rows if r.ok != "✓"]
        assert odd == [("registered", "-")] * 3
        assert [r.found for r in rows].count("healthy, with 3 members") == 3
        kill_etcd(cloud, "mine-2")
        until(lambda: "etcd of mine-2" in wrong(cloud), "the end of an etcd")
        advice = [r.next for r in wrong(cloud).values()]
        assert not [text for text in advice if "90-remove" in text or "destroy" in text]

    def test_a_proxy_among_the_three_is_named(self, cloud):
        play(cloud, WRITE, **MINE)
        proxying = text(cloud).replace("fallback=exit", "fallback=proxy")
        early, first, _ = (deploy(cloud, n, proxying) for n in ("early-1", "mine-1", "mine-2"))
        until(lambda: answers(f"http://{first}:2379/health"), "the cluster of the three")
        late = deploy(cloud, "mine-3", proxying)
        until(lambda: answers(f"http://{late}:2379/v2/config/local/proxy"), "the proxy")
        rows = wrong(cloud)
        assert rows["etcd of mine-3"].found == "proxy"
        assert rows[f"registered of {early}"].found == "a stranger"
        assert rows[f"etcd of {early}"].found == "a stranger, a member"

    def test_a_dead_etcd_and_a_stopped_machine_are_named(self, cloud):
        form(cloud)
        silence(cloud, "mine-2")
        assert wrong(cloud)["etcd of mine-2"].found == "silent"
        cloud.call("stopVirtualMachine", id=machines(cloud)["mine-3"]["id"])
        until(lambda: machines(cloud)["mine-3"]["state"] == "Stopped", "the stop")

        def unhealthy() -> list[str]:
            return [title for title, row in wrong(cloud).items() if "unhealthy" in row.found]

        assert until(unhealthy, "the loss of the quorum") == ["etcd of mine-1"]
        hurry(cloud)
        with pytest.raises(CheckFailed, match=r"(?s)etcd of mine-2.*mine-3: wanted Running"):
            play(cloud, VERIFY, **MINE)

    def test_a_machine_that_boots_again_is_a_member_again_with_its_data(self, cloud):
        form(cloud)
        call = ["etcdctl", "--endpoints", f"http://{address(cloud, 'mine-1')}:2379"]
        env = os.environ | {"ETCDCTL_API": "3"}
        subprocess.run([*call, "put", "a", "b"], env=env, check=True, capture_output=True)
        cloud.call("rebootVirtualMachine", id=machines(cloud)["mine-1"]["id"])
        play(cloud, VERIFY, **MINE)
        got = subprocess.run([*call, "get", "a"], env=env, check=True, capture_output=True)
        assert got.stdout.split() == [b"a", b"b"]

    def test_processes_end_with_their_machine(self, cloud):
        form(cloud)
        assert len([x for x in etcds(cloud) if x.startswith("etcd ")]) == 3
        cloud.call("configureSimulator", name="expunge", value="allowed:1")
        for machine in machines(cloud).values():
            cloud.call("destroyVirtualMachine", id=machine["id"], expunge=True)
        until(lambda: not machines(cloud), "the end of the machines")
        assert etcds(cloud) == []
        left = {p.name for p in (cloud.server.folder / "machines").iterdir()}
        assert left == {"bin", "shell"}

    def test_machines_run_on_when_the_server_comes_back(self, built, tmp_path):
        with built(**USERDATA).running(tmp_path / "cloud", real_etcd=True) as one:
            form(one)
        assert etcds(one) == []
        with running(tmp_path / "cloud", **built(**USERDATA).options) as one:
            play(one, VERIFY, **MINE)

    def test_nothing_is_left_of_a_server_that_is_killed(self, built, tmp_path):
        folder = tmp_path / "4.22"
        built(**USERDATA).copy(folder)
        command = [sys.executable, "-m", "lib.localcloud", "start", "--dir", str(tmp_path)]
        subprocess.run([*command, "--etcd", "real"], cwd=ROOT, check=True, capture_output=True)
        found = json.loads((folder / "server.json").read_text())
        assert found["etcd"] == "real"
        one = client(SimpleNamespace(folder=folder, connection=found))
        form(one)
        assert len(etcds(one)) >= 3
        os.kill(found["pid"], signal.SIGKILL)
        until(lambda: not etcds(one), "the end of the etcds")


def test_real_etcds_are_refused_where_there_is_none(tmp_path, monkeypatch, capsys):
    from lib.localcloud.__main__ import main

    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["start", "--etcd", "real", "--dir", str(tmp_path)]) == 1
    assert "etcd-server" in capsys.readouterr().err


def test_etcd_gets_the_arguments_that_systemd_would_pass():
    text = (
        "[Service]\nEnvironment=A=1 'B=2 3'\nExecStart=/x/etcd\n"
        "ExecStart=\nExecStart=/x/etcd $B $NONE \\\n --n=%m ${A}x %%\n"
    )
    units = {"etcd-member.service": settings.Unit(True, text)}
    service = settings.read("etcd-member.service", units, {}, ("abc", "127.1.1.11"))
    assert service.arguments == ["2", "3", "--n=abc", "1x", "%"]


def test_the_address_that_a_program_finds_out_is_the_machines_own():
    form = config.Form("flatcar-install", "cloudstack")
    texts = config.Config(form, ("k",), config.Bootstrap("core", 3, discovery.PUBLIC)).texts()
    found = boot.Config({}, {}, {})
    boot._apply_cloud_config(found, texts["cloud-config.yml"], SimpleNamespace(ident="flatcar"))
    service = settings.read("etcd-member.service", found.units, found.files, ("abc", "127.1.1.11"))
    assert "--listen-peer-urls=http://127.1.1.11:2380" in service.arguments


def test_the_matrix_has_a_sign_and_a_reason_for_each_machine_and_question():
    found = [
        tick("state", "Running", "Running", True, of="m-1"),
        later("state", "Running", "absent", "Run 50.", "m-2"),
        later("state", "Running", "absent", "Run 50.", "m-3"),
        tick("etcd", "healthy", "silent", False, "Look.", "m-1"),
        tick("etcd", "these machines only", NOT_ASKED, None, "", "10.1.0.7"),
    ]
    assert matrix.shown(found).to_numpy().tolist() == [
        ["m-1", "✓", "✗ silent"],
        ["m-2", "… not there yet", ""],
        ["m-3", "… not there yet", ""],
        ["10.1.0.7", "", "- could not be asked"],
    ]
    reasons = ["state of m-2, m-3", "etcd of m-1", "etcd of 10.1.0.7"]
    assert list(matrix.reasons(found)["what"]) == reasons


@pytest.mark.parametrize(
    "wrong, text",
    [
        ({"etcd_members": 4}, "wanted 1 to 3, or 0 for all machines, found 4"),
        ({"etcd_members": -1}, "wanted 1 to 3"),
        ({"etcd_members": 10, "cluster_size": 20}, "wanted 1 to 9"),
        ({"etcd_members": 2, "installer": "coreos-install"}, "etcd of 2014 has 3 members at least"),
    ],
)
def test_an_impossible_number_of_members_is_refused(server, wrong, text):
    with pytest.raises(ParamsError, match=f"etcd_members: {text}"):
        play(client(server), WRITE, **USERDATA | wrong)


@pytest.mark.parametrize("size, members, sign", [(5, 4, "-"), (10, 0, "-"), (5, 3, "✓")])
def test_00_warns_of_an_even_number_of_members_and_of_too_many(server, size, members, sign):
    params = {"cluster_size": size, "etcd_members": members}
    rows = play(client(server), CHECK, "check-workstation", **params)["rows"]
    (row,) = [r for r in rows if r.what == "etcd_members"]
    assert (row.ok, row.found) == (sign, f"{members or size} of {size} machines")


@pytest.mark.parametrize("states, members", [("hhhss", "123"), ("hhshs", "124"), ("hhsss", "123")])
def test_of_2014_any_machines_may_be_the_members(states, members):
    names = [f"m-{n}" for n in range(1, 6)]
    words = {"h": "healthy", "s": "standby"}
    known = {n: Answer(words[s]) for n, s in zip(names, states, strict=True)}
    ours = Ours(None, "z", "m").with_machines(5, 1, 3)
    expected = SimpleNamespace(ours=ours, written=SimpleNamespace(text="#cloud-config"))
    assert [n[-1] for n in verification._members(expected, known)] == list(members)


@pytest.mark.parametrize("value", ["http://:7001", "http://:2380", ":7001", "127.0.0.1"])
def test_an_empty_address_in_the_registry_is_explained(value):
    row = registry._stranger(value)
    assert row.ok == "✗" and "$private_ipv4" in row.next
    assert "reused" in registry._stranger("10.1.0.7").next


ERRORS = {
    "template_name x: wanted exactly one template with name 'x', found these:\n  y. Look in z.": (
        NotOne("template", "name 'x'", ["y"], "Look in z.")
    ),
    "template_name x: wanted an URL, found none. Set template_url.": ParamsError(
        "template_url", "an URL", ""
    ),
}


@pytest.mark.parametrize("line", ERRORS)
def test_the_row_of_an_error_has_its_wanted_and_found_values(line):
    def fail():
        raise ERRORS[line]

    assert [str(row) for row in asked("template_name x", fail)] == [line]


def test_a_cluster_name_that_no_machine_may_have_names_the_parameter_to_set():
    with pytest.raises(CheckFailed, match=r"machines called a/b-1\. Set cluster_name\."):
        names("a/b", 3)
