"""What Tab offers in a notebook."""

from collections.abc import Iterator

import pytest
from harness import running

from lib.lab import completion


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    with running(tmp_path_factory.mktemp("cloud")) as cloud:
        yield {"cloud": cloud, "text": "no cloud"}


@pytest.mark.parametrize(
    "text, first, begun",
    [
        ('x = 1\ncloud.call("attach', "attachVolume", "attach"),
        ("cloud.list('", "listAccounts", ""),
        ('cloud.list("create', None, "create"),
        ('cloud.help("deployV', "deployVirtualMachine", "deployV"),
        ('listed(cloud, "listZ', "listZones", "listZ"),
        ('listed(cloud, "listVolumes", "name si', "size", "si"),
        ('cloud.call("createVolume", na', "name=", "na"),
        ('cloud.call("createVolume", name=f"x,y", di', "diskofferingid=", "di"),
        ('cloud.call("createVolume",\n    s', "size=", "s"),
        ('cloud.call("createVolume", name="di', None, ""),
        ('text.call("li', None, "li"),
        ('print("li', None, ""),
    ],
)
def test_commands_parameters_and_columns_complete(names, text, first, begun):
    found, typed = completion.completions(text, names)
    assert (found[:1], typed) == ([first] if first else [], begun)


def test_ipython_s_completer_takes_them_with_jedi(names):
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(namespace=names)
    completer.use_jedi = True
    completer.custom_matchers.append(completion.matcher(names))
    code = 'x = 1\ncloud.call("listVol'
    with provisionalcompleter():
        found = list(completer.completions(code, len(code)))
    assert [(c.text, code[c.start : c.end]) for c in found] == [("listVolumes", "listVol")]
