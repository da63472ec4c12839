"""Every parameter of CloudStack is applied or refused; unknown ones are ignored."""

import json
from pathlib import Path

import pytest

from lib.localcloud.commands import unbuilt  # and registers all commands
from lib.localcloud.state import registry

FIXTURES = Path(__file__).parents[1] / "fixtures"

SCHEMAS = {
    "2.2": ("commands-2.2.14.json",),
    "4.22": ("commands-4.20.2.json", "commands-4.22.0.json"),
}
NOBODY = "00000000-0000-4000-8000-000000000000"
# Values that fit no row, and for a boolean both.
SAMPLES = {
    "string": ["no-such-thing"],
    "uuid": [NOBODY],
    "list<uuid>": [NOBODY],
    "list<string>": ["no-such-thing"],
    "integer": ["987654"],
    "long": ["987654"],
    "boolean": ["true", "false"],
    "date": ["2099-01-01"],
    "tzdate": ["2099-01-01"],
    "list<long>": ["987654"],
}
NEEDED = {"listTemplates": {"templatefilter": "executable"}}
# Parameters of lists that choose no rows, and why.
NO_FILTERS = {
    "listall": "there is nothing of others to add",
    "isrecursive": "there are no domains below",
    "showicon": "there are no icons",
    "showunique": "how often a row comes, not which",
    "userdata": "more fields, not fewer rows",
    "available": "all zones are",
    "issystem": "no row here is, and none is left out without it",
}


@pytest.fixture
def cloud(either):
    """A cloud of each dialect that has at least one row for each list."""
    created = either
    created("createSSHKeyPair", name="k")
    created.template()
    created.machine("m", group="g", keypair="k")
    if created.facts["dialect"] == "4.22":
        created("registerUserData", name="u", userdata="eA==")
        tags = {"tags[0].key": "a", "tags[0].value": "b"}
        created.done("createTags", resourceids=created.workstation(), resourcetype="UserVm", **tags)
    return created


def table(dialect):
    """Return command, name and type of each parameter in the schema, once."""
    found = {}
    for file in SCHEMAS[dialect]:
        for command, schema in json.loads((FIXTURES / file).read_text()).items():
            for p in schema["params"] if command != "listCapacity" else ():
                found[command, p["name"]] = p["type"]
    return [(command, name, type_) for (command, name), type_ in found.items()]


def ask(cloud, command, **params):
    """Send a call and return its error text, or how many rows came."""
    answer = cloud.raw(command, **NEEDED.get(command, {}) | params)
    if answer.status != 200:
        return answer.body["errortext"]
    return sum(len(rows) for rows in answer.body.values() if isinstance(rows, list))


def values(name, type_):
    """Return the parameters to send for one of the schema."""
    if type_ == "map":
        return [{f"{name}[0].key": "no-such-thing", f"{name}[0].value": "x"}]
    return [{name: value} for value in SAMPLES[type_]]


def no_parameter(name, command):
    return f"The local cloud has no parameter {name} of {command}, which CloudStack knows"


def test_each_parameter_that_cloudstack_knows_is_built_or_refused(cloud):
    dialect, wrong = cloud.facts["dialect"], []
    rows = table(dialect)
    for command, name, type_ in rows:
        here = registry.known(dialect)[command]
        built = name in {p.name for p in registry.params_of(here, dialect)}
        lines = [ask(cloud, command, **given) for given in values(name, type_)]
        refused = all(str(text).startswith(no_parameter(name, command)) for text in lines)
        if built == refused:
            wrong.append((command, name, lines))
    assert not wrong
    assert len(rows) >= {"4.22": 380, "2.2": 140}[dialect]


def test_each_filter_leaves_out_rows_that_do_not_match(cloud):
    dialect, passed, checked = cloud.facts["dialect"], [], 0
    for command, name, type_ in table(dialect):
        here = registry.known(dialect)[command]
        is_known = name in {p.name for p in registry.params_of(here, dialect)}
        if here.kind != "list" or not is_known or name in NO_FILTERS:
            continue
        everything = ask(cloud, command)
        lines = [ask(cloud, command, **given) for given in values(name, type_)]
        checked += 1
        if everything and all(count == everything for count in lines):
            passed.append((command, name))
    assert not passed
    assert checked >= {"4.22": 90, "2.2": 40}[dialect]


def test_each_parameter_in_the_table_of_the_unbuilt_is_refused(cloud):
    dialect = cloud.facts["dialect"]
    for command, names in unbuilt.parameters(dialect).items():
        here = registry.known(dialect)[command]
        assert not names & {p.name for p in registry.params_of(here, dialect)}
        for name in names:
            assert ask(cloud, command, **{name: "1"}).startswith(no_parameter(name, command))


def test_list_by_filter_then_delete_hits_one_key_only(api):
    for name in ("a", "b"):
        api("createSSHKeyPair", name=name)
    first = api("listSSHKeyPairs", name="a")["sshkeypair"][0]["id"]
    assert [k["name"] for k in api("listSSHKeyPairs", id=first)["sshkeypair"]] == ["a"]


def test_only_the_callers_own_account_and_domain_are_there(cloud):
    me = cloud("listAccounts")["account"][0]
    is_known = {"account": me["name"].upper(), "domainid": me["domainid"], "isrecursive": "true"}
    assert ask(cloud, "listVirtualMachines", **is_known) == 2
    text = "Unable to find account stranger in domain"
    assert ask(cloud, "listVirtualMachines", account="stranger").startswith(text)
    assert ask(cloud, "createSSHKeyPair", name="x", account="stranger").startswith(text)


def test_the_number_of_rows_alone(api):
    assert api("listVolumes", retrieveonlyresourcecount="true") == {"count": 2}


@pytest.mark.parametrize(
    ("command", "filters", "names"),
    [
        ("listServiceOfferings", {"zoneid": "zone", "state": "Active"}, 4),
        ("listServiceOfferings", {"state": "Inactive"}, 0),
        ("listDiskOfferings", {"storagetype": "shared", "encrypt": "false"}, 4),
        ("listDiskOfferings", {"encrypt": "true"}, 0),
        ("listVirtualMachines", {"hypervisor": "kvm"}, 1),
        ("listVirtualMachines", {"hypervisor": "VMware"}, 0),
        ("listNetworks", {"name": "default-guest", "acltype": "account"}, 1),
        ("listResourceLimits", {"resourcetypename": "volume"}, 1),
    ],
)
def test_filters_compare_with_fields_of_the_answer(api, command, filters, names):
    filters = {k: api.zone() if v == "zone" else v for k, v in filters.items()}
    assert ask(api, command, **filters) == names


def test_a_keyword_leaves_out_rows_without_it(cloud):
    lists = [c for c in registry.known(cloud.facts["dialect"]).values() if c.kind == "list"]
    passed = {
        here.name
        for here in lists
        if here.name not in ("listNics", "listSimulatorCalls")
        and ask(cloud, here.name)
        and ask(cloud, here.name, keyword="no-such-thing")
    }
    # These pass a keyword over on a real server too.
    assert passed <= {"listHypervisors", "listResourceLimits", "listApis"}
