"""What the machines are configured with: rendered from the parameters, shown, and written.

The texts are the templates in the folder `texts`. Until a step is applied the URL of the discovery
token ends in `<token>`, which a service is asked for only then.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from urllib.parse import quote

from lib.config import discovery
from lib.config.addresses import Bootstrap, listing
from lib.config.config_file import ConfigFile
from lib.config.discovery import TOKEN
from lib.config.display import Text, difference
from lib.config.form import AS_BEFORE, USER_DATA, Form, role_file
from lib.config.written import Written, read
from lib.errors import CheckFailed, ParamsError
from lib.roles import Role
from lib.steps import Step
from lib.workstation import notes
from lib.workstation.shell import Shell

LOST = (
    "It was lost, and the machines keep theirs: put it back, or run 70-reconfigure-cluster with "
    "move_discovery, which writes it with a new token."
)
LEAST_ACTIVE = 3  # members of an etcd 0.4 (`MinActiveSize`)
PLAIN_SCALAR = re.compile(r"[\w@.+/= -]+")  # what YAML takes as a text without quotes


@dataclass(frozen=True)
class Config:
    """What the machines of a cluster are configured with: texts in a form, for keys and etcd.

    A file of the operator's own is merged into the text that makes machines a cluster; the
    machines of each role have a text of their own, with the same token. Raises ParamsError for
    fixed addresses of machines whose etcd must have a service, and for fewer members than their
    etcd has.
    """

    form: Form
    keys: tuple[str, ...]
    bootstrap: Bootstrap
    file: ConfigFile | None = None
    roles: Mapping[Role, ConfigFile | None] = field(default_factory=dict)

    def __post_init__(self):
        if self.bootstrap.service == discovery.STATIC and self.form.installer != "flatcar-install":
            text = 'etcd of 2014 needs a token from a service: "static" is for flatcar-install'
            raise ParamsError("discovery", text=text)
        few = self.bootstrap.others and self.bootstrap.size < LEAST_ACTIVE
        if few and self.form.installer != "flatcar-install":
            text = f"etcd of 2014 has {LEAST_ACTIVE} members at least: set 3 to 9, or 0 for all"
            raise ParamsError("etcd_members", text=text)

    @property
    def url(self) -> str:
        """Return the URL of a token that is yet to be asked for, "" where none is needed."""
        return "" if self.bootstrap.addresses else f"{self.bootstrap.service}/{TOKEN}"

    def texts(self, url: str = "") -> dict[str, Text]:
        """Return the text of each file by its name, with the URL of the token where it has one."""
        form, found = self.form, {}
        if form.disk_file:
            found[form.disk_file] = Text(_rendered("neutral.yml", self, ""))
        found[form.cluster_file] = self._text(form.cluster_file, url, self.file, None)
        for role, file in self.roles.items():
            name = role_file(role.name)
            found[name] = self._text(name, url, file, role)
        return found

    def _text(self, name: str, url: str, file: ConfigFile | None, role: Role | None) -> Text:
        text = Text(_rendered(_template(self.form), self, url or self.url, role))
        return Text(file.merged(text, name), file.secrets) if file else text

    def step(self, name: str, where: str, why: str) -> Step:
        """Return the step that writes one of the texts, with the service that gives its token."""
        params: dict[str, object] = {"text": self.texts()[name]}
        if name == self.form.cluster_file:
            start = self.bootstrap
            params |= {"cluster": start.cluster, "service": start.service, "size": start.size}
        return Step("write", params, why, where)


def _template(form: Form) -> str:
    if form.installer == "flatcar-install":
        return "flatcar.ign" if form.format == "ignition" else "flatcar.yml"
    return "coreos.yml" if form.oem == "cloudstack" else "coreos-plain.yml"


def _rendered(name: str, config: Config, url: str, role: Role | None = None) -> str:
    """Return a template's text; units of systemd are templates of their own, used by two forms."""

    def unit(name: str) -> str:
        return _templates().get_template(name).render(values).strip() + "\n"

    start = config.bootstrap
    values = {"keys": config.keys, "url": url, "unit": unit}
    values |= {"addresses": start.addresses, "cluster": start.cluster}
    values |= {"size": start.size, "others": start.others, "role": role}
    text = _templates().get_template(name).render(values)
    if name.endswith(".ign"):
        text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    return text.rstrip("\n") + "\n"


@cache
def _templates():
    import jinja2  # only the stages that render need it

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("texts")),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    templates.filters["scalar"] = _scalar
    templates.filters["url"] = lambda text: quote(text, safe="")
    return templates


def _scalar(text: str) -> str:
    return text if PLAIN_SCALAR.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def plan_write(
    shell: Shell, work_dir: str, config: Config, template: dict | None, deployed: Mapping[str, str]
) -> list[Step]:
    """Return the steps that write the files that are absent, none if all are there.

    Of a file that exists only the token may differ, and in user data the fixed addresses of
    members that are not there yet. A file that has served is not written again: `template` is what
    was made of the disk with its text, `deployed` are the addresses of machines by name. Raises
    CheckFailed when a file differs, or is lost while machines run.
    """
    noted = notes.read(shell, work_dir)
    notes.demand_of(config.bootstrap.cluster, noted, work_dir)
    config.form.demand_places(noted)
    steps, texts = [], config.texts(read(shell, work_dir, config.form.cluster_file).url)
    for name in texts:
        there = read(shell, work_dir, name)
        if there.text and _has_other_members(there, config, name, deployed):
            why = "other members; those that run go on with the list that they started with"
            steps.append(replace(config.step(name, there.where, why), command="rewrite"))
        elif there.text:
            _demand_same(there, config, name, noted.get("config") or {}, bool(deployed))
        elif name == USER_DATA and (names := ", ".join(sorted(deployed))):
            what = f"{there.where} is not there, but {names} were made with it"
            raise CheckFailed(what, next_step=LOST)
        elif not (template and name == config.form.disk_file):
            why = f"{there.where} is absent from the workstation"
            step = config.step(name, there.where, why + _deprecated(config, name))
            own = {} if "service" in step.params else {"text": texts[name]}
            steps.append(replace(step, params=step.params | own))
    return steps


def _deprecated(config: Config, name: str) -> str:
    is_public = config.bootstrap.service == discovery.PUBLIC and name == config.form.cluster_file
    return "; discovery.etcd.io, which gives its token, is deprecated" if is_public else ""


def _has_other_members(
    there: Written, config: Config, name: str, deployed: Mapping[str, str]
) -> bool:
    """Tell whether user data differ from what is wanted in fixed addresses of new members only."""
    now, wanted = there.addresses, config.bootstrap.addresses
    if config.form.delivery != "userdata" or not (now and wanted and deployed) or now == wanted:
        return False
    running = {a for a in now if a in deployed.values()}
    return running <= set(wanted) and listing(there.text, wanted) == config.texts()[name]


def _demand_same(there: Written, config: Config, name: str, noted: dict, runs: bool) -> None:
    """Raise CheckFailed unless a text is what the parameters give with the token it has.

    Once a cluster `runs`, it may have other members than those for which the token was given.
    """
    expected = config.texts(there.url)[name]
    if there.text != expected:
        lines = difference(expected, there.text, ("by the parameters", "there"))
        what = f"{there.where} has other lines than the parameters give:\n{lines}"
        raise CheckFailed(what, next_step=AS_BEFORE)
    token = {"base": config.bootstrap.service, "size": config.bootstrap.size}
    found = token | {k: noted[k] for k in token if k in noted and not (runs and k == "size")}
    if name == config.form.cluster_file and token != found:
        what = f"the token in {there.where}"
        raise CheckFailed(what, _service(token), _service(found), AS_BEFORE)


def _service(token: dict) -> str:
    if token["base"] == discovery.STATIC:
        return f"none, but fixed addresses of {token['size']} machines"
    return f"one of {token['base']} for {token['size']} machines"
