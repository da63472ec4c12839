from dataclasses import fields
from functools import partial

import pytest

from lib import machines
from lib.chain import params, values
from lib.config import discovery
from lib.errors import RunbookError
from lib.install import images
from lib.record.faults import BadInput
from lib.resources import templates
from lib.roles import Role

CELL = """\
mode: str = "plan"  # "plan" looks; "apply" changes
zone: str = "local-1"  # where
volume_size: int = 40  # GB
ports: str = "22:22"  # pair of ports
scale: float = 0.5  # factor
fast: bool = False  # skip pauses
keep: list[str] = []  # what is not removed
names: dict = {}  # and values
roles: list[dict] = []  # kinds
"""


@pytest.fixture
def table(book, notebooks):
    book(notebooks / "10-one.ipynb", parameters=CELL)
    return params.gather(notebooks)


def faults_of(table, tmp_path, text, *options):
    """The faults of one file, without the file's folder."""
    file = tmp_path / "given.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        values.load(table, [file], options)
    return [fault.removeprefix(f"{tmp_path}/") for fault in caught.value.faults]


def faults_of_books(notebooks):
    with pytest.raises(BadInput) as caught:
        params.gather(notebooks)
    return caught.value.faults


def test_the_table_holds_type_default_meaning_and_notebooks(book, notebooks):
    book(notebooks / "10-one.ipynb", parameters=CELL)
    book(notebooks / "20-two.ipynb", parameters='zone: str = "local-1"  # where')
    book(notebooks / "explore.ipynb", "1 + 1")
    table = params.gather(notebooks)
    both = ("10-one", "20-two")
    assert table["zone"] == params.Parameter("zone", "str", "local-1", "where", both)
    assert table["volume_size"].notebooks == ("10-one",)
    assert " ".join(table) == "mode zone volume_size ports scale fast keep names roles"


def test_a_default_over_several_lines_keeps_its_comment(book, notebooks):
    cell = 'names: list = [  # who\n    "a",\n    "b",\n]\nhash: str = "#1"  # a # in a text'
    book(notebooks / "10-one.ipynb", parameters=cell)
    table = params.gather(notebooks)
    assert (table["names"].type, table["names"].meaning) == ("list[str]", "who")
    assert table["hash"].meaning == "a # in a text"


def test_notebooks_that_disagree_are_refused_with_every_difference(book, notebooks):
    book(notebooks / "10-one.ipynb", parameters="size: int = 40  # GB\nzone: str = 'a'  # where")
    book(notebooks / "20-two.ipynb", parameters="size: float = 41.0  # GiB\nzone: str = 'b'")
    faults = faults_of_books(notebooks)
    assert "size: type is 'int' in 10-one but 'float' in 20-two: make them the same" in faults
    assert [f.split(" is ")[0] for f in faults] == ["size: type", "size: meaning", "zone: meaning"]


def test_an_edited_default_matters_only_where_no_file_gives_a_value(book, notebooks, tmp_path):
    for name in ("10-one", "20-two", "30-three"):
        mode = "apply" if name == "20-two" else "plan"
        book(notebooks / f"{name}.ipynb", parameters=f'mode: str = "{mode}"  # what')
    table = params.gather(notebooks)
    assert table["mode"].default == "plan"
    assert values.load(table, options=["mode=apply"])["mode"].value == "apply"
    with pytest.raises(BadInput) as caught:
        values.load(table)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{notebooks}/20-two.ipynb: its default of mode is not that")
    assert fault.endswith(f"git restore {notebooks}/20-two.ipynb")


@pytest.mark.parametrize(
    "line, words",
    [
        ("size = 40", "expected `name: type = literal"),
        ("size: set = set()", "type set is not one of"),
        ("size: int = 4 * 10", "the default is not a literal"),
        ("size: int = 'x'", "expected int, found 'x'"),
        ("size: int = -1", "at least 1"),
        ("mode: str = 'go'", "expected plan or apply"),
        ("apikey: str = ''", "looks like a secret"),
        ("size: int =", "cannot be read"),
    ],
)
def test_a_parameters_cell_with_anything_but_typed_literals_is_refused(
    book, notebooks, line, words
):
    book(notebooks / "10-one.ipynb", parameters=line)
    (fault,) = faults_of_books(notebooks)
    assert fault.startswith("10-one.ipynb")
    assert words in fault


def test_two_parameters_cells_broken_files_and_empty_folders_are_refused(book, notebooks):
    assert "there is no notebook in it" in faults_of_books(notebooks)[0]
    path = book(notebooks / "10-one.ipynb", parameters="a: int = 1")
    path.write_text(path.read_text().replace('"cells": [', '"cells": [{"metadata": {"tags": '
        '["parameters"]}, "source": ""},'))  # fmt: skip
    (notebooks / "20-two.ipynb").write_text("{")
    faults = faults_of_books(notebooks)
    assert faults[0] == "10-one.ipynb: 2 cells are tagged `parameters`: keep one"
    assert faults[1].startswith("20-two.ipynb: its parameters cannot be read")


def test_later_files_win_over_earlier_ones_and_options_over_files(table, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("zone: a\nvolume_size: 10\nfast: yes\nscale: 2\n")
    second.write_text("zone: b\nkeep: [x, 'no']\n")
    found = values.load(table, [first, second], ["volume_size=30", "volume_size=31"])
    assert found["zone"] == values.Value("b", str(second))
    assert found["fast"] == values.Value(True, str(first))
    assert found["scale"] == values.Value(2.0, str(first))
    assert found["keep"].value == ["x", "no"]
    assert found["volume_size"] == values.Value(31, "command line")
    assert found["mode"] == values.Value("plan", "default")


def test_options_are_read_by_the_declared_type(table):
    given = ["ports=22:22", "volume_size=12", "scale=1e3", "fast=true", "keep=[a, b]", "zone=no"]
    given += ["names={a=b=c, token=secret:T}", "roles=[{name: a, count: 3}, {count: 0}]"]
    found = values.load(table, options=given)
    assert [found[option.split("=")[0]].value for option in given] == [
        "22:22", 12, 1000.0, True, ["a", "b"], "no", {"a": "b=c", "token": "secret:T"},
        [{"name": "a", "count": 3}, {"count": 0}],
    ]  # fmt: skip
    assert values.load(table, options=["keep="])["keep"].value == []


@pytest.mark.parametrize(
    "option, words",
    [
        ("zone", "-p zone: expected name=value"),
        ("zon=a", "-p zon: there is no such parameter: did you mean zone?"),
        ("volume_size=012", "expected a whole number, found '012'"),
        ("volume_size=0", "at least 1"),
        ("scale=nan", "expected a number, found 'nan'"),
        ("fast=yes", "expected true or false, found 'yes'"),
        ("mode=go", "expected plan or apply"),
        ("names=a", "expected name=value,name=value"),
        ("names=token=hunter2", "token looks like a secret: write secret:NAME for"),
        ("roles=a", "expected a list of { }, as [{name: value}], found 'a'"),
        ("roles=[{", "as [{name: value}], found '[{'"),
        ("roles=[{nmae: a}]", "there is no nmae in its row 1: did you mean name?"),
    ],
)
def test_a_bad_option_is_refused(table, option, words):
    with pytest.raises(BadInput, match="command line") as caught:
        values.load(table, options=[option])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "line, words",
    [
        ("volume_sise: 40", "there is no such parameter: did you mean volume_size?"),
        ("xyz: 40", "there is no such parameter: `runbook params` lists them all"),
        ("? [a]\n: 40", "there is no such parameter"),
        ("volume_size: forty", "expected a whole number, found the text 'forty'"),
        ("volume_size: '40'", "found the text '40': remove the quotes"),
        ("volume_size: 012", "YAML reads 012 as the whole number 10: write plain digits"),
        ("volume_size: 1e3", "YAML reads 1e3 as a text: write 1000"),
        ("volume_size: 4.5", "YAML reads 4.5 as the number 4.5"),
        ("volume_size: 0", "at least 1 (a count or a size), found 0"),
        ("volume_size:", "YAML reads it as nothing"),
        ("volume_size: [40]", "expected a whole number, found a list"),
        ("scale: .inf", "YAML reads .inf as the number inf"),
        ("fast: maybe", "expected true or false, found the text 'maybe'"),
        ("zone: no", "YAML reads no as the truth value False: put it in quotes"),
        ("zone: 12", "YAML reads 12 as the whole number 12: put it in quotes"),
        ("zone: 2014-08-01", "YAML reads 2014-08-01 as a date: put it in quotes"),
        ("zone:", 'found nothing: write "" for an empty one'),
        ("zone: !!python/name:os.system x", "put it in quotes"),
        ("ports: 22:22", "YAML reads 22:22 as the whole number 1342: put it in quotes"),
        ("zone: {a: b}", "expected a text, found a mapping: parameters are flat"),
        ("keep: a", "expected a list of texts, found the text 'a': write it in [ ]"),
        ("keep: [a, no]", "YAML reads no as the truth value False: put it in quotes"),
        ("keep: [[a]]", "found lists or mappings in it"),
        ("names: {a: [b]}", "found lists or mappings in it"),
        ("names: {a: 1}", "YAML reads 1 as the whole number 1: put it in quotes"),
        ("names: {a: b, a: c}", "a name is set twice"),
        ("names: [a]", "expected texts by name, found a list"),
        ("names: a", "found the text 'a': write {name: value}"),
        ("names: {password: hunter2}", "password looks like a secret: write secret:NAME for"),
        ("roles: {a: b}", "expected a list of { }, found a mapping"),
        ("roles: [a]", "expected a list of { }, found something else in it"),
        ("roles: [{name: [a]}]", "found lists or mappings in it"),
        ("roles: [{name: a, name: b}]", "a name is set twice"),
        ("roles: [{count: 012}]", "YAML reads 012 as the whole number 10: write plain digits"),
        ("roles: [{count: many}]", "expected a whole number as count in its row 1, found 'many'"),
        ("roles: [{}, {name: 3}]", "expected a text as name in its row 2, found '3'"),
        ("roles: [{name: no}]", "YAML reads no as the truth value False: put it in quotes"),
        (f"roles: [{{metadata: {'0A/b' * 20}}}]", "looks like a secret"),
        ("mode: go", "expected plan or apply, found 'go'"),
        ("zone: a\nzone: b", "given.yaml:2: zone: is already set in line 1"),
        ("- zone", "given.yaml:1: expected lines of `name: value`"),
        ("zone: [a", "given.yaml:1: is not YAML"),
        ("zone: a\n\tx: 1", "given.yaml:2: is not YAML: found character '\\t'"),
        ("zone: a\x08", "given.yaml: is not YAML: it holds a character"),
    ],
)
def test_a_bad_line_is_refused_with_expected_and_found(table, tmp_path, line, words):
    (fault,) = faults_of(table, tmp_path, line)
    assert fault.startswith("given.yaml")
    assert words in fault


def test_all_faults_of_all_files_are_reported_at_once_with_file_and_line(table, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("# a comment\n\nvolume_size: many\n")
    missing = tmp_path / "missing.yaml"
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput) as caught:
        values.load(table, [other, missing, binary], ["zon=a", "mode=x"])
    places = [f"{other}:3", str(missing), str(binary), *["command line"] * 2]
    assert [fault.split(": ")[0] for fault in caught.value.faults] == places


@pytest.mark.parametrize(
    "line, secret",
    [
        ("apikey: hunter2-aaa", "hunter2"),
        ("Secret_Key: hunter2-aaa", "hunter2"),
        ("password: [hunter2-aaa]", "hunter2"),
        ("zone: " + "aB3_" * 20, "aB3_"),
        ("zone: {x: " + "aB3_" * 20 + "}", "aB3_"),
        ("aB3_" * 20 + ": x", "aB3_"),
        ("zone: https://user:hunter2@host/", "hunter2"),
        ("zone: |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  hunter2", "hunter2"),
        ("keep: [a, " + "ab/3Cd+9" * 10 + "]", "ab/3Cd"),
        ("volume_size: " + "7f" * 32, "7f7f"),
    ],
)
def test_a_value_like_a_secret_is_refused_and_never_shown(table, tmp_path, line, secret):
    (fault,) = faults_of(table, tmp_path, line)
    assert "looks like a secret" in fault
    assert secret not in fault


def test_a_secret_is_not_shown_by_other_faults_either(table, tmp_path):
    faults = faults_of(table, tmp_path, "password: *hunter2", "aB3_" * 20, "token=hunter2")
    assert len(faults) == 3
    assert not any("hunter2" in fault or "aB3_" in fault for fault in faults)


def test_ordinary_long_values_are_no_secrets(table):
    path = "/home/someone/projects/coreos-cluster-runbook-2/params/rehearsal-key-of-somebody-else"
    long_name = "a-very-long-name-of-a-template-that-somebody-thought-of-on-a-friday-evening"
    assert values.load(table, options=[f"zone={path}"])["zone"].value == path
    assert values.load(table, options=[f"zone={long_name}"])["zone"].value == long_name


def test_a_checksum_is_no_secret(book, notebooks):
    book(notebooks / "10-one.ipynb", parameters='image_sha256: str = ""  # of a file')
    known = params.gather(notebooks)
    held = values.load(known, options=[f"image_sha256={'0a' * 32}"])
    assert held["image_sha256"].value == "0a" * 32
    with pytest.raises(BadInput, match="looks like a secret"):
        values.load(known, options=[f"image_sha256={'0A/b' * 20}"])


def test_merged_values_are_a_parameter_file_that_gives_them_again(table, tmp_path):
    odd = "no\nyes # 'x' \"y\" ÿ"
    given = [f"zone={odd}", "ports=22:22", "keep=no,b", "scale=1e20"]
    given += ["names=a=no,b=x: #", "roles=[{name: 'no', count: 3}, {metadata: 'a=b,c=d'}]"]
    before = values.load(table, options=given)
    file = tmp_path / "params.yaml"
    file.write_text(values.as_yaml(before), encoding="utf-8")
    assert "volume_size: 40  # default\n" in file.read_text("utf-8")
    again = values.load(table, [file])
    assert {n: v.value for n, v in again.items()} == {n: v.value for n, v in before.items()}


@pytest.mark.parametrize(
    "option, expected",
    [
        ("keep=a, b,,c", ["a", "b", "c"]),
        ('keep="a,b",c', ["a,b", "c"]),
        ('keep=["a ""b""",c]', ['a "b"', "c"]),
        ('names={"a=x,y",b=z=1}', {"a": "x,y", "b": "z=1"}),
        ('names="a=two\nlines, one text"', {"a": "two\nlines, one text"}),
    ],
)
def test_a_text_of_the_command_line_may_hold_a_comma_in_quotes(table, option, expected):
    assert values.load(table, options=[option])[option.partition("=")[0]].value == expected


FORMS = {
    "cluster_name": {"web": True, "we_b": False, "1web": False, "web.": False, "Web-1": True},
    "discovery": {
        "static": True,
        "public": True,
        "https://etcd.example/v1": True,
        "statik": False,
        "ftp://x": False,
        "http://": False,
        "http://x/?a": False,
    },
    "image_url": {"": True, "http://mirror/a": True, "mirror/a": False},
    "template_url": {"http://mirror/a.qcow2.bz2": True, "mirror/a.qcow2": False},
    "image_sha256": {"": True, "0" * 64: True, "0" * 63: False, "G" * 64: False},
    "template_sha256": {"": True, "A" * 64: True, "a" * 65: False},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_text_without_its_form_is_a_fault_at_once_where_the_stages_refuse_it(name):
    assert set(params.FORMS) == set(FORMS)
    for text, is_well in FORMS[name].items():
        assert (params.misfit(name, "str", text) == "") == is_well, text
        assert _is_taken(name, text) == is_well, text


def _is_taken(name, text):
    """Tell whether the room of a parameter takes a value."""
    image = partial(images.Image, "coreos-install", "beta")
    rooms = {
        "cluster_name": lambda: machines.names(text, 1),
        "discovery": lambda: discovery.service(text, "http://local"),
        "image_url": lambda: images.demand_valid(image(url=text)),
        "template_url": lambda: templates.Image(text, "QCOW2", "KVM"),
        "image_sha256": lambda: images.demand_valid(
            image(file="x" if text else "", image_sha256=text)
        ),
        "template_sha256": lambda: templates.Image("http://x/a.qcow2", "QCOW2", "KVM", text),
    }
    try:
        rooms[name]()
    except RunbookError:
        return False
    return True


def test_the_values_that_are_allowed_are_those_that_the_stages_take():
    from lib.chain.params import CHOICES
    from lib.cluster import published
    from lib.config import form
    from lib.ours import SOURCES
    from lib.plan import MODES

    channels = dict.fromkeys(c for found in images.CHANNELS.values() for c in found)
    assert {
        "mode": MODES,
        "installer": form.INSTALLERS,
        "channel": tuple(channels),
        "config_format": tuple(form.ON_DISK),
        "config_delivery": form.DELIVERIES,
        "template_from": SOURCES,
        "public": published.KINDS,
    } == CHOICES
    kinds = {field.name: field.type for field in fields(Role)}
    assert {"roles": kinds} == params.ROWS
