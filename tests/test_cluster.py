"""Real clusters form, and what is wrong with one is named: machines run Debian's etcd."""

import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from harness import ROOT, USERDATA, client, fault, home, machines, play, running
from registries import answering, answers, serving, until

from lib import config
from lib.checks import NOT_ASKED, asked, later, tick
from lib.cluster import matrix, registry
from lib.cluster import verify as verification
from lib.cluster.etcd import Answer
from lib.config import discovery, userdata
from lib.errors import CheckFailed, NotOne, ParamsError
from lib.localcloud.guests import boot, etcd, settings
from lib.machines import names
from lib.ours import Ours
from lib.workstation.shell import write_text

system = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("etcd"), reason="needs Debian's etcd-server"),
]
QUESTIONS = ["state", "offering", "address", "registered", "etcd", "ssh", "systemd", "user data"]
MINE = USERDATA | {"cluster_name": "mine", "work_dir": "mine"}


@pytest.fixture
def cloud(built, tmp_path):
    """A client of a cloud with a neutral template, whose machines run real etcds."""
    with built(**USERDATA).running(tmp_path / "cloud", real_etcd=True) as one:
        yield one


def form(cloud, **more) -> None:
    for stage in ("20-write-cloud-config", "50-deploy-cluster", "60-verify-cluster"):
        play(cloud, stage, **MINE, **more)


def verify(cloud, **more) -> list[dict]:
    """Return what is wrong with the cluster; it is not waited for."""
    rows = play(cloud, "60-verify-cluster", "verify", **MINE | more, mode="plan")["found"]
    return [r for r in rows if r.ok == "✗"]


def ours(cloud) -> dict[str, dict]:
    return {name: row for name, row in machines(cloud).items() if name[:4] == "mine"}


def address(machine: dict) -> str:
    return machine["nic"][0]["ipaddress"]


def text(cloud) -> str:
    return (home(cloud, "mine") / "user-data.yml").read_text()


def deploy(cloud, name: str, said: str) -> dict:
    """Deploy one more machine of the template by hand, with these user data."""
    (template,) = cloud.list("listTemplates", templatefilter="self")
    offering = cloud.list("listServiceOfferings", name="Small Instance")[0]["id"]
    given = {"templateid": template["id"], "serviceofferingid": offering, "name": name}
    zone = cloud.zones[0]["id"]
    job = cloud.call("deployVirtualMachine", zoneid=zone, **given, userdata=userdata.encoded(said))
    until(lambda: cloud.call("queryAsyncJobResult", jobid=job["jobid"])["jobstatus"], name)
    return machines(cloud)[name]


def log(cloud, machine: dict) -> str:
    return (cloud.server.folder / "machines" / machine["id"] / "etcd.log").read_text()


def etcds(cloud) -> list[str]:
    """Return the command lines of the etcds of this cloud that run."""
    said = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, text=True, check=True)
    return [x for x in said.stdout.splitlines() if f"data-dir={cloud.server.folder}/" in x]


@pytest.fixture
def service(request, tmp_path):
    """What the parameter `discovery` says for one of the kinds of service."""
    if request.param == "local":
        yield "local"
        return
    with serving(tmp_path) as base:
        yield base


class TestReal:
    pytestmark = system

    @pytest.mark.parametrize("service", ["local", "etcd-discovery"], indirect=True)
    def test_three_machines_form_a_cluster_with_any_discovery_service(self, cloud, service):
        form(cloud, discovery=service)
        rows = play(cloud, "60-verify-cluster", **MINE)["found"]
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
        rows = {r.title: r for r in play(cloud, "60-verify-cluster", **MINE | five)["found"]}
        assert {r.ok for r in rows.values()} == {"✓"}
        states = [rows[f"etcd of mine-{n}"].found for n in range(1, 6)]
        assert states == [*["healthy, with 3 members"] * 3, "proxy", "proxy"]
        listed = [r.of for r in rows.values() if r.what == "registered"]
        assert listed == (["mine-1", "mine-2", "mine-3"] if discovery == "local" else [])
        play(cloud, "70-reconfigure-cluster", **MINE | five | keys)
        booted = [e.what for e in cloud.journal.every() if e.command == "rebootVirtualMachine"]
        assert booted == ["mine-4", "mine-5", "mine-1", "mine-2", "mine-3"]
        etcd.end(cloud.server.cloud, ours(cloud)["mine-5"])
        (wrong,) = verify(cloud, **five)
        assert (wrong.title, wrong.found) == ("etcd of mine-5", "silent")

    def test_another_program_at_the_port_of_etcd_is_reported_at_once(self, cloud):
        form(cloud, discovery="static")
        machine = ours(cloud)["mine-1"]
        etcd.end(cloud.server.cloud, machine)
        cloud.sleep = lambda seconds: seconds and pytest.fail("it waited")
        with answering({}, address(machine), 2379), pytest.raises(CheckFailed, match="no etcd"):
            play(cloud, "60-verify-cluster", **MINE)

    @pytest.mark.parametrize(
        "service, fallback, state",
        [("local", "exit", "silent"), ("etcd-discovery", "proxy", "proxy")],
        indirect=["service"],
    )
    def test_a_fourth_machine_is_named(self, cloud, service, fallback, state):
        form(cloud, discovery=service)
        config = text(cloud).replace("fallback=exit", f"fallback={fallback}")
        fourth = deploy(cloud, "mine-4", config)
        until(lambda: "full" in log(cloud, fourth), "etcd's refusal")
        if state == "proxy":
            at = f"http://{address(fourth)}:2379/v2/config/local/proxy"
            until(lambda: answers(at), "the proxy")
        (wrong,) = verify(cloud)
        assert wrong.title == "state of mine-4"
        assert wrong.found == f"Running at {address(fourth)}, etcd {state}"

    @pytest.mark.parametrize("service", ["etcd-discovery"], indirect=True)
    def test_a_reused_token_is_named(self, cloud, service):
        form(cloud, discovery=service)
        used, first = text(cloud), {address(m) for m in ours(cloud).values()}
        for name in ("again-1", "again-2", "again-3"):
            machine = deploy(cloud, name, used)
            until(lambda m=machine: "cluster is full" in log(cloud, m), "etcd's refusal")
        shell = play(cloud, "60-verify-cluster", **MINE)["shell"]
        write_text(shell, "again/user-data.yml", used)
        wrong = verify(cloud, cluster_name="again", work_dir="again")
        named = {r.of for r in wrong if "reused token" in r.next}
        assert named == first
        assert [r.found for r in wrong if r.what == "etcd"] == ["silent"] * 3

    @pytest.mark.parametrize("lost", ["token", "service", "text"])
    def test_a_source_that_is_lost_does_not_end_the_judgement_of_the_etcds(
        self, cloud, lost, monkeypatch
    ):
        form(cloud)
        if lost == "token":
            cloud.server.cloud.state.setting("discovery", {"rows": {}})["rows"].clear()
        elif lost == "service":
            monkeypatch.setattr(discovery, "PAUSE", 0)
            fault(cloud, "getDiscovery", "fault:drop-before", 99)
        else:
            (home(cloud, "mine") / "user-data.yml").unlink()
        rows = play(cloud, "60-verify-cluster", **MINE)["found"]
        odd = [(r.what, r.ok) for r in rows if r.ok != "✓"]
        assert odd == [("registered", "-")] * 3
        assert [r.found for r in rows].count("healthy, with 3 members") == 3
        etcd.end(cloud.server.cloud, ours(cloud)["mine-2"])
        wrong = until(lambda: [w for w in [verify(cloud)] if "etcd of mine-2" in
                               {r.title for r in w}], "the end of an etcd")[0]  # fmt: skip
        assert not [r for r in wrong if "90-remove" in r.next or "destroy" in r.next]

    def test_a_proxy_among_the_three_is_named(self, cloud):
        play(cloud, "20-write-cloud-config", **MINE)
        said = text(cloud).replace("fallback=exit", "fallback=proxy")
        for name in ("early-1", "mine-1", "mine-2"):
            deploy(cloud, name, said)
        first = ours(cloud)["mine-1"]
        until(lambda: answers(f"http://{address(first)}:2379/health"), "the cluster of the three")
        late = deploy(cloud, "mine-3", said)
        until(lambda: answers(f"http://{address(late)}:2379/v2/config/local/proxy"), "the proxy")
        early = address(machines(cloud)["early-1"])
        wrong = {r.title: r.found for r in verify(cloud)}
        assert wrong["etcd of mine-3"] == "proxy"
        assert wrong[f"registered of {early}"] == "a stranger"
        assert wrong[f"etcd of {early}"] == "a stranger, a member"

    def test_a_dead_etcd_and_a_stopped_machine_are_named(self, cloud):
        form(cloud)
        second, third = (ours(cloud)[f"mine-{n}"] for n in (2, 3))
        etcd.end(cloud.server.cloud, second)
        (wrong,) = until(lambda: [w for w in [verify(cloud)] if len(w) == 1], "a new leader")[0]
        assert (wrong.title, wrong.found) == ("etcd of mine-2", "silent")
        cloud.call("stopVirtualMachine", id=third["id"])
        until(lambda: ours(cloud)["mine-3"]["state"] == "Stopped", "the stop")
        found = until(lambda: {r.title: r.found for r in verify(cloud)
                               if "unhealthy" in r.found}, "the loss of the quorum")  # fmt: skip
        assert set(found) == {"etcd of mine-1"}
        with pytest.raises(CheckFailed, match=r"(?s)etcd of mine-2.*mine-3: wanted Running"):
            cloud.clock = iter(range(0, 10**6, 60)).__next__
            play(cloud, "60-verify-cluster", **MINE)

    def test_a_machine_that_boots_again_is_a_member_again_with_its_data(self, cloud):
        form(cloud)
        one = ours(cloud)["mine-1"]
        call = ["etcdctl", "--endpoints", f"http://{address(one)}:2379"]
        env = os.environ | {"ETCDCTL_API": "3"}
        subprocess.run([*call, "put", "a", "b"], env=env, check=True, capture_output=True)
        cloud.call("rebootVirtualMachine", id=one["id"])
        play(cloud, "60-verify-cluster", **MINE)
        got = subprocess.run([*call, "get", "a"], env=env, check=True, capture_output=True)
        assert got.stdout.split() == [b"a", b"b"]

    def test_processes_end_with_their_machine(self, cloud):
        form(cloud)
        assert len([x for x in etcds(cloud) if x.startswith("etcd ")]) == 3
        cloud.call("configureSimulator", name="expunge", value="allowed:1")
        for machine in ours(cloud).values():
            cloud.call("destroyVirtualMachine", id=machine["id"], expunge=True)
        until(lambda: not ours(cloud), "the end of the machines")
        assert etcds(cloud) == []
        left = {p.name for p in (cloud.server.folder / "machines").iterdir()}
        assert left == {"bin", "shell"}

    def test_machines_run_on_when_the_server_comes_back(self, built, tmp_path):
        with built(**USERDATA).running(tmp_path / "cloud", real_etcd=True) as one:
            form(one)
        assert etcds(one) == []
        with running(tmp_path / "cloud", **built(**USERDATA).options) as one:
            play(one, "60-verify-cluster", **MINE)

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


def test_what_the_unit_tells_etcd_is_what_systemd_would():
    text = (
        "[Service]\nEnvironment=A=1 'B=2 3'\nExecStart=/x/etcd\n"
        "ExecStart=\nExecStart=/x/etcd $B $NONE \\\n --n=%m ${A}x %%\n"
    )
    units = {"etcd-member.service": settings.Unit(True, text)}
    told = settings.read("etcd-member.service", units, {}, ("abc", "127.1.1.11"))
    assert told.arguments == ["2", "3", "--n=abc", "1x", "%"]


def test_the_address_that_a_program_finds_out_is_the_machines_own():
    form = config.Form("flatcar-install", "cloudstack")
    made = config.Config(form, ("k",), config.Bootstrap("core", 3, discovery.PUBLIC))
    found = boot.Config({}, {}, {})
    boot._apply_cloud_config(
        found, made.texts()["cloud-config.yml"], SimpleNamespace(ident="flatcar")
    )
    told = settings.read("etcd-member.service", found.units, found.files, ("abc", "127.1.1.11"))
    assert "--listen-peer-urls=http://127.1.1.11:2380" in told.arguments


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
    assert list(matrix.reasons(found)["what"]) == [
        "state of m-2, m-3",
        "etcd of m-1",
        "etcd of 10.1.0.7",
    ]


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"etcd_members": 4}, "wanted 1 to 3, or 0 for all machines, found 4"),
        ({"etcd_members": -1}, "wanted 1 to 3"),
        ({"etcd_members": 10, "cluster_size": 20}, "wanted 1 to 9"),
        ({"etcd_members": 2, "installer": "coreos-install"}, "etcd of 2014 has 3 members at least"),
    ],
)
def test_a_number_of_members_that_cannot_be_is_refused(server, wrong, said):
    with pytest.raises(ParamsError, match=f"etcd_members: {said}"):
        play(client(server), "20-write-cloud-config", **USERDATA | wrong)


def test_an_even_number_of_members_and_too_many_are_warned_about(server):
    for size, members, sign in ((5, 4, "-"), (10, 0, "-"), (5, 3, "✓")):
        asked = {"cluster_size": size, "etcd_members": members}
        rows = play(client(server), "00-check-access", "check-workstation", **asked)["rows"]
        (row,) = [r for r in rows if r.what == "etcd_members"]
        assert (row.ok, row.found) == (sign, f"{members or size} of {size} machines")


@pytest.mark.parametrize("states, members", [("hhhss", "123"), ("hhshs", "124"), ("hhsss", "123")])
def test_of_2014_any_machines_may_be_the_members(states, members):
    names = [f"m-{n}" for n in range(1, 6)]
    words = {"h": "healthy", "s": "standby"}
    known = {n: Answer(words[s]) for n, s in zip(names, states, strict=True)}
    expected = SimpleNamespace(ours=Ours(None, "z", "m").with_machines(5, 1, 3),
                               written=SimpleNamespace(text="#cloud-config"))  # fmt: skip
    assert [n[-1] for n in verification._members(expected, known)] == list(members)


@pytest.mark.parametrize("value", ["http://:7001", "http://:2380", ":7001", "127.0.0.1"])
def test_an_empty_address_in_the_registry_is_called_so(value):
    row = registry._stranger(value)
    assert row.ok == "✗" and "$private_ipv4" in row.next
    assert "reused" in registry._stranger("10.1.0.7").next


FOUND = {
    "template_name x: wanted exactly one template with name 'x', found these:\n  y. Look in z.": (
        NotOne("template", "name 'x'", ["y"], "Look in z.")
    ),
    "template_name x: wanted an URL, found none. Set template_url.": ParamsError(
        "template_url", "an URL", ""
    ),
}


@pytest.mark.parametrize("line", FOUND)
def test_the_row_of_an_error_says_what_is_wanted_and_found(line):
    def look():
        raise FOUND[line]

    assert [str(row) for row in asked("template_name x", look)] == [line]


def test_a_cluster_name_that_no_machine_may_bear_names_the_parameter_to_set():
    with pytest.raises(CheckFailed, match=r"machines called a/b-1\. Set cluster_name\."):
        names("a/b", 3)
