"""What commands refuse, at once or as a job, with code and text.

A line of refusals.txt: the dialects, whether the call is `refused` or its job `fails`, the command
and its parameters, and after the bar the code and a pattern of the text. `$x` is the id of what
`World` has under that name; `$machine`, `$big`, `$image` and `$rule` are the parameters of a
machine of either size, of an image and of a rule for a port, of which `-x` leaves one out.
"""

import base64
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from lib.localcloud.wire.server import Server

from .conftest import Api

KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAABwCqqqqqqqs= me@here"
OTHER = "00000000-0000-4000-8000-000000000000"
SIZES = {"$machine": "Small Instance", "$big": "Custom Instance"}
RELEASES = "https://stable.release.flatcar-linux.net/amd64-usr"
URL = f"{RELEASES}/current/flatcar_production_cloudstack_image.img"
IMAGE = {"name": "flatcar", "url": URL, "format": "RAW", "hypervisor": "KVM"}
SSH = {"protocol": "tcp", "publicport": 22, "privateport": 22}

TABLE = Path(__file__).with_name("refusals.txt").read_text("utf-8")


class World:
    """A cloud of a dialect with something in each state; `ids` by name."""

    def __init__(self, api: Api):
        self.api = api
        api("registerSSHKeyPair", name="mine", publickey=KEY)
        ids = {"zone": api.zone(), "station": api.workstation(), "other": OTHER, "key": KEY}
        for name, offering in (("custom", "Custom Disk"), ("small", "Small")):
            ids[name] = api.id_of("listDiskOfferings", offering)
        for name, offering in (("little", "Small Instance"), ("medium", "Medium Instance")):
            ids[name] = api.id_of("listServiceOfferings", offering)
        ids["os"] = api.id_of("listOsTypes", "Other Linux (64-bit)", by="description")
        ids["stock"] = api.id_of("listTemplates", "Debian 12", templatefilter="featured")
        ids["root"] = api("listVolumes", type="ROOT")["volume"][0]["id"]
        ids |= {"long": _base64(30000), "longer": _base64(2049)}
        ids["vol"] = api.volume("vol")["id"]
        ids["fixed"] = api.done("createVolume", name="fixed", zoneid=ids["zone"],
                                diskofferingid=ids["small"])["id"]  # fmt: skip
        ids["att"], ids["det"] = api.attached("att")["id"], api.attached("det", 2)["id"]
        api.done("detachVolume", id=ids["det"])
        ids["snap"] = api.done("createSnapshot", volumeid=ids["det"])["id"]
        given = {"name": "tpl", "displaytext": "tpl", "ostypeid": ids["os"]}
        ids["tpl"] = api.done("createTemplate", **given, snapshotid=ids["snap"])["id"]
        more = {"templateid": ids["tpl"]}
        if api.facts["dialect"] == "4.22":
            created = api("registerUserData", name="cfg", userdata="eA==")["userdata"]["id"]
            ids["ud"] = more["userdataid"] = created
            tags = {"tags[0].key": "k", "tags[0].value": "v"}
            api.done("createTags", resourceids=ids["att"], resourcetype="Volume", **tags)
            group = {"name": "group", "type": "host anti-affinity"}
            ids["group"] = api.done("createAffinityGroup", **group)["id"]
        ids["node"] = api.machine("node", **more)["id"]
        for name in ("halt", "gone"):
            ids[name] = api.machine(name)["id"]
        api.done("stopVirtualMachine", id=ids["halt"])
        api.done("destroyVirtualMachine", id=ids["gone"])
        if api.facts["dialect"] == "4.22":
            api("updateVirtualMachine", id=ids["halt"], deleteprotection="true")
        address = api.done("associateIpAddress", zoneid=ids["zone"])["id"]
        self.rule = SSH | {"ipaddressid": address, "virtualmachineid": ids["node"]}
        self.ids = ids

    def read(self, text: str) -> str:
        """Return a text with ids in place of names."""
        for name in sorted(self.ids, key=len, reverse=True):
            text = text.replace(f"${name}", str(self.ids[name]))
        return text

    def params(self, words: list[str]) -> dict[str, str]:
        """Return the parameters of a line."""
        found: dict[str, str] = {}
        for word in words:
            name, _, value = word.partition("=")
            if word in SIZES:
                found |= {k: str(v) for k, v in self.api.machine_params(SIZES[word]).items()}
            elif word == "$image":
                found |= IMAGE | {"ostypeid": self.ids["os"], "zoneid": self.ids["zone"]}
            elif word == "$rule":
                found |= self.rule
            elif word.startswith("-"):
                del found[word[1:]]
            else:
                found[name] = self.read(value).replace("\\t", "\t")
        return found


def _base64(length: int) -> str:
    return base64.b64encode(b"x" * length).decode()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """A world for each dialect."""
    found = {}
    for dialect in ("4.22", "2.2"):
        folder = tmp_path_factory.mktemp("cloud")
        server = Server(folder, dialect=dialect, time_scale=0, custom_offering=1).start()
        found[dialect] = World(Api(server))
    yield found
    for world in found.values():
        world.api.server.stop()


def cases():
    for line in TABLE.splitlines():
        call, _, answer = line.partition(" | ")
        who, how, command, *words = shlex.split(call)
        for dialect in ("4.22", "2.2") if who == "both" else (who,):
            yield pytest.param(dialect, how, command, words, answer, id=f"{dialect} {call[:90]}")


@pytest.mark.parametrize(("dialect", "how", "command", "words", "answer"), list(cases()))
def test_a_call_is_refused_in_the_words_of_the_server(worlds, dialect, how, command, words, answer):
    world = worlds[dialect]
    # The dialect of 2.2 refuses at once what later ones refuse in the job.
    send = world.api.failed if how == "fails" else world.api.refused
    code, text = send(command, **world.params(words))
    expected, _, pattern = answer.partition(" ")
    assert code == int(expected) and fnmatchcase(text, world.read(pattern)), (code, text)


def test_nothing_that_was_refused_is_there(worlds):
    for world in worlds.values():
        (mine,) = world.api("listTemplates", templatefilter="self")["template"]
        volumes = world.api("listVolumes", type="DATADISK")["volume"]
        machines = world.api("listVirtualMachines")["virtualmachine"]
        assert mine["name"] == "tpl" and {"vol", "fixed"} < {v["name"] for v in volumes}
        assert {m["name"] for m in machines} == {"my-workstation", "node", "halt"}
