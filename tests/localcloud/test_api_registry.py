"""The registry agrees with the schema of the real servers."""

import json
import re
from pathlib import Path

import pytest

from lib.localcloud.state import registry
from lib.localcloud.state.fields import fields_of

FIXTURES = Path(__file__).parents[1] / "fixtures"

SCHEMA = {
    "4.22": json.loads((FIXTURES / "commands-4.22.0.json").read_text()),
    "2.2": json.loads((FIXTURES / "commands-2.2.14.json").read_text()),
}
TYPES = {"uuids": "list<uuid>", "strings": "list<string>"}
OLD_TYPES = {"uuid": "long", "uuids": "list<long>", "date": "tzdate"}
COMMANDS = """
    listApis listCapabilities listZones listDiskOfferings listServiceOfferings listOsTypes
    listNetworks listHypervisors listResourceLimits listAccounts listEvents listVolumes
    createVolume attachVolume detachVolume deleteVolume listSnapshots createSnapshot
    deleteSnapshot listTemplates createTemplate deleteTemplate listVirtualMachines
    deployVirtualMachine startVirtualMachine stopVirtualMachine rebootVirtualMachine
    updateVirtualMachine destroyVirtualMachine expungeVirtualMachine
    createTags deleteTags listTags listSSHKeyPairs
    createSSHKeyPair registerSSHKeyPair deleteSSHKeyPair registerUserData listUserData
    deleteUserData queryAsyncJobResult listAsyncJobs getApiLimit
"""
PAIRS = [
    (dialect, name)
    for dialect, commands in SCHEMA.items()
    for name in commands
    if name in registry.known(dialect)
]


def test_all_commands_are_there():
    assert set(COMMANDS.split()) <= set(registry.known("4.22"))
    assert set(SCHEMA["2.2"]) - {"listCapacity"} <= set(registry.known("2.2"))


@pytest.mark.parametrize(("dialect", "name"), PAIRS)
def test_parameters_are_those_of_the_real_server(dialect, name):
    real = {p["name"]: p for p in SCHEMA[dialect][name]["params"]}
    one = registry.known(dialect)[name]
    here = {p.name for p in registry.params_of(one, dialect)}
    assert {name for name, p in real.items() if p.get("required")} <= here
    for p in registry.params_of(one, dialect):
        if p.name in ("keyword", "page", "pagesize"):
            continue
        assert p.name in real
        type_ = OLD_TYPES.get(p.type, p.type) if dialect == "2.2" else p.type
        assert TYPES.get(type_, type_) == real[p.name]["type"]
        assert p.needed(dialect) == real[p.name].get("required", False)
        assert (
            p.length == real[p.name].get("maxlength", 255) or p.type != "string" or dialect == "2.2"
        )
        assert (
            not p.since or p.since == re.sub(r"\+$", "", real[p.name]["since"]) or dialect == "2.2"
        )


@pytest.mark.parametrize(("dialect", "name"), PAIRS)
def test_kinds_and_fields_are_those_of_the_real_server(dialect, name):
    schema = SCHEMA[dialect][name]
    one = registry.known(dialect)[name]
    assert one.kind == schema["kind"]
    if schema["object_key"] and name not in ("createSSHKeyPair", "registerSSHKeyPair"):
        assert one.answers == schema["object_key"]
        known = {f["name"] for f in schema["response_fields"]}
        # These are inherited by answers of real servers, or stand in recorded ones.
        inherited = {"tags", "jobid", "jobstatus", "hasannotations"}
        assert {f.name for f in fields_of(one.answers, dialect)} <= known | inherited


def test_every_command_and_parameter_is_described():
    for one in registry.COMMANDS.values():
        assert one.description.endswith(".")
        assert all(p.description for p in one.params.values())


def test_list_apis_equals_the_registry(api):
    found = {a["name"]: a for a in api("listApis")["api"]}
    assert set(found) == set(registry.known("4.22"))
    for name, one in registry.known("4.22").items():
        assert [p["name"] for p in found[name]["params"]] == [
            p.name for p in registry.params_of(one, "4.22")
        ]
        assert found[name]["isasync"] == one.kind.startswith("async")
    [one] = api("listApis", name="createVolume")["api"]
    assert {p["name"]: p["required"] for p in one["params"]}["size"] is False
    assert {"name": "size", "type": "long", "description": ""} in one["response"]


def test_answers_have_the_fields_of_the_registry(api, old):
    for one in (api, old):
        one.template()
        one.machine("node", group="g")
        for command, more in [
            ("listVolumes", {}), ("listSnapshots", {}), ("listVirtualMachines", {}),
            ("listTemplates", {"templatefilter": "executable"}), ("listZones", {}),
            ("listServiceOfferings", {}), ("listDiskOfferings", {}), ("listNetworks", {}),
        ]:  # fmt: skip
            answer = one(command, **more)
            [rows] = [v for v in answer.values() if isinstance(v, list)]
            known = {f["name"] for f in SCHEMA[one.facts["dialect"]][command]["response_fields"]}
            assert {key for row in rows for key in row} <= known


def test_numbers_are_ids_on_an_old_server_only(api, old):
    assert isinstance(api.zone(), str)
    assert (old.zone(), old.workstation()) == (1, 53553)
    assert old.id_of("listServiceOfferings", "M4 ( 2CPU / 4GB )") == 21
    assert old.id_of("listOsTypes", "Other Linux (64-bit)", by="description") == 99
    assert old("listDiskOfferings")["diskoffering"][0]["id"] == 10


def test_list_apis_shows_since_and_related(api):
    [one] = api("listApis", name="createTags")["api"]
    assert one["since"] == "4.0.0"
    [one] = api("listApis", name="deployVirtualMachine")["api"]
    assert {"listVirtualMachines", "scaleVirtualMachine"} <= set(one["related"].split(","))
    assert "since" not in one
    facts = {p["name"]: p.get("related") for p in one["params"]}
    assert set(facts["serviceofferingid"].split(",")) == {"listServiceOfferings"}
    assert facts["name"] is None
    nested = {f["name"]: f["response"] for f in one["response"] if "response" in f}
    assert {"name": "value", "type": "string", "description": ""} in nested["tags"]
    assert "ipaddress" in {f["name"] for f in nested["nic"]}
    assert api("listApis", name="listNics")["api"][0]["related"] == ""


def test_get_api_limit_answers_only_with_a_limit(api):
    api.fault("throttle", "max:25;interval:60")
    assert api("getApiLimit")["apilimit"]["apiAllowed"] < 25
