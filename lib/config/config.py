"""What the machines are configured with: rendered from the parameters, shown, and written.

The texts are the templates in the folder `texts`. Until a step is applied the URL of the discovery
token ends in `<token>`, which a service is asked for only then.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lib.config import discovery, ignition, lint
from lib.config.addresses import Bootstrap
from lib.config.config_file import ConfigFile
from lib.config.discovery import TOKEN, ask_token, masked, masked_url
from lib.config.display import Text, difference
from lib.config.form import AS_BEFORE, USER_DATA, Form
from lib.config.placeholders import for_machine
from lib.config.written import Written, keep_secrets, read
from lib.errors import CheckFailed, ParamsError
from lib.plan import check_mode, perform
from lib.steps import Step
from lib.workstation import files, notes
from lib.workstation.shell import Shell, write_text

STAGE = "20-write-cloud-config"
LOST = (
    "It was lost, and the machines keep theirs: put it back, or run 70-reconfigure-cluster with "
    "move_discovery, which writes it with a new token."
)
LEAST_ACTIVE = 3  # members of an etcd 0.4 (`MinActiveSize`)
PLAIN_SCALAR = re.compile(r"[\w@.+/= -]+")  # what YAML takes as a text without quotes


@dataclass(frozen=True)
class Config:
    """What the machines of a cluster are configured with: texts in a form, for keys and etcd.

    A file of the operator's own is merged into the text that makes machines a cluster. Raises
    ParamsError for fixed addresses of machines whose etcd must have a service, and for fewer
    members than their etcd has.
    """

    form: Form
    keys: tuple[str, ...]
    bootstrap: Bootstrap
    file: ConfigFile | None = None

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
        form = self.form
        neutral = _rendered("neutral.yml", self, "")
        text = Text(_rendered(_template(form), self, url or self.url))
        if self.file:
            text = Text(self.file.merged(text, form.cluster_file), self.file.secrets)
        return ({form.disk_file: Text(neutral)} if form.disk_file else {}) | {
            form.cluster_file: text
        }

    def step(self, name: str, where: str, why: str) -> Step:
        """Return the step that writes one of the texts, with the service that gives its token."""
        params: dict[str, object] = {"text": self.texts()[name]}
        if name == self.form.cluster_file:
            made = self.bootstrap
            params |= {"cluster": made.cluster, "service": made.service, "size": made.size}
        return Step("write", params, why, where)


def _template(form: Form) -> str:
    if form.installer == "flatcar-install":
        return "flatcar.ign" if form.format == "ignition" else "flatcar.yml"
    return "coreos.yml" if form.oem == "cloudstack" else "coreos-plain.yml"


def _rendered(name: str, config: Config, url: str) -> str:
    """Return a template's text; units of systemd are templates of their own, used by two forms."""

    def unit(name: str) -> str:
        return _templates().get_template(name).render(values).strip() + "\n"

    made = config.bootstrap
    values = {"keys": config.keys, "url": url, "unit": unit}
    values |= {"addresses": made.addresses, "cluster": made.cluster}
    values |= {"size": made.size, "others": made.others}
    text = _templates().get_template(name).render(values)
    if name.endswith(".ign"):
        text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    return text.rstrip("\n") + "\n"


@cache
def _templates():
    import jinja2  # only the stages that render need it

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("texts")),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.filters["scalar"] = _scalar
    return made


def _scalar(text: str) -> str:
    return text if PLAIN_SCALAR.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def plan_write(
    shell: Shell, work_dir: str, config: Config, template: dict | None, deployed: Iterable[str]
) -> list[Step]:
    """Return the steps that write the files that are absent, none if all are there.

    Of a file that exists only the token may differ. A file that has served is not written again:
    `template` is what was made of the disk with its text, `deployed` are the names of machines.
    Raises CheckFailed when a file differs, or is lost while machines run.
    """
    noted = notes.read(shell, work_dir)
    notes.demand_of(config.bootstrap.cluster, noted, work_dir)
    config.form.demand_places(noted)
    steps = []
    for name in config.texts():
        there = read(shell, work_dir, name)
        if there.text:
            _demand_same(there, config, name, noted.get("config") or {})
        elif name == USER_DATA and (names := ", ".join(sorted(deployed))):
            what = f"{there.where} is not there, but {names} were made with it"
            raise CheckFailed(what, next_step=LOST)
        elif not (template and name == config.form.disk_file):
            why = f"{there.where} is absent from the workstation"
            steps.append(config.step(name, there.where, why + _deprecated(config, name)))
    return steps


def _deprecated(config: Config, name: str) -> str:
    is_public = config.bootstrap.service == discovery.PUBLIC and name == config.form.cluster_file
    return "; discovery.etcd.io, which gives its token, is deprecated" if is_public else ""


def _demand_same(there: Written, config: Config, name: str, noted: dict) -> None:
    """Raise CheckFailed unless a text is what the parameters give with the token it has."""
    expected = config.texts(there.url)[name]
    if there.text != expected:
        lines = difference(expected, there.text, ("by the parameters", "there"))
        what = f"{there.where} has other lines than the parameters give:\n{lines}"
        raise CheckFailed(what, next_step=AS_BEFORE)
    token = {"base": config.bootstrap.service, "size": config.bootstrap.size}
    found = token | {k: noted[k] for k in token if k in noted}
    if name == config.form.cluster_file and token != found:
        what = f"the token in {there.where}"
        raise CheckFailed(what, _service(token), _service(found), AS_BEFORE)


def _service(token: dict) -> str:
    if token["base"] == discovery.STATIC:
        return f"none, but fixed addresses of {token['size']} machines"
    return f"one of {token['base']} for {token['size']} machines"


def apply_write(shell: Shell, plan: list[Step], mode: str, work_dir: str) -> None:
    """Validate each text, fill in its token, and write it; in plan mode do nothing.

    A token is written as soon as the service has given it. If this process ends in between, or the
    answer is lost on its way, it is asked for another one: nobody knows the first then.
    """
    check_mode(mode)
    if mode == "apply":
        files.settle_files(shell, files.workstation(shell))
    perform(plan, mode, lambda step: _write_step(shell, step, work_dir))


def _write_step(shell: Shell, step: Step, work_dir: str) -> str:
    """Write one text, and return the words for it."""
    text, where = step.params["text"], step.what
    demand_valid(text)
    if "service" not in step.params:
        write(shell, where, text)
        return "without a token: for any cluster"
    token = {"base": step.params["service"], "size": step.params["size"]}
    noted = {"cluster": step.params["cluster"], "file": where.rpartition("/")[2]}
    notes.update(shell, work_dir, config=token | noted)
    unfilled = f"{token['base']}/{TOKEN}"
    if unfilled not in text:
        write(shell, where, text)
        return "its machines know each other by fixed addresses"
    with files.journalled(token["base"], "new token", where, token | {"file": where}) as ended:
        url = ask_token(token["base"], token["size"])
        write(shell, where, Text(text.replace(unfilled, url), text.secrets))
        ended["text"] = masked_url(url)
    return f"with the token {masked_url(url)}"


def write(shell: Shell, where: str, text: str, old: str = "", kept: str = "") -> None:
    """Write a configuration on the workstation, and into the journal that this is done.

    `old` is what was there, "" if nothing was, and `kept` where that stays.
    """
    told = {"file": where, "before": old and files.sha256(old), "after": files.sha256(text)}
    told |= {"kept": kept} if kept else {}
    at, what = files.workstation(shell), f"{where} on {shell.name}"
    keep_secrets(shell, where.rpartition("/")[0], getattr(text, "secrets", ()))
    with files.journalled(at, "write", what, told) as ended:
        write_text(shell, where, text)
        more = f"; the old one is kept as {kept}" if kept else ""
        ended["text"] = f"sha256 {told['after']}{more}"


def demand_valid(text: str) -> None:
    """Raise CheckFailed with every line that is wrong, or say that none is."""
    text = for_machine(text, "a-1", "192.0.2.1")  # any machine's
    is_json = text.lstrip().startswith("{")
    what = "the Ignition config" if is_json else "the cloud-config"
    problems = ignition.validate(text) if is_json else lint.validate(text)
    if problems:
        listed = masked("\n".join(f"  {p}" for p in problems))
        next_step = "Nothing was written: correct the lines, or what they came from."
        raise CheckFailed(f"{what} is not valid:\n{listed}", next_step=next_step)
    print(f"✓ {what} is valid: {len(text.splitlines())} lines")


def check_valid(shell: Shell, work_dir: str, form: Form, mode: str, made: bool = False) -> None:
    """Validate the text for the disk; it may be absent in plan mode, or once the disk is `made`."""
    if not form.disk_file:
        return print("the disk carries no configuration: the machines get theirs as user data")
    there = read(shell, work_dir, form.disk_file)
    if there.text or (mode == "apply" and not made):
        demand_present(there)
        demand_valid(there.text)
    elif made:
        print(f"{there.where} is not there, and not needed: the disk has served")
    else:
        print(f"no {there.where} yet: {STAGE} writes it")


def demand_present(there: Written) -> None:
    """Raise CheckFailed if a configuration is absent."""
    if not there.text:
        what = f"{there.where} is not on the workstation"
        raise CheckFailed(what, next_step=f"Run {STAGE} first.")
