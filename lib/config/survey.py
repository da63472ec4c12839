"""What of a configuration can be known before it is written, and whether machines can use it."""

from collections.abc import Sequence

from lib.checks import Tick, asked
from lib.config import addresses, discovery, written
from lib.config.addresses import bootstrap
from lib.config.config import Config
from lib.config.config_file import config_files
from lib.config.form import Form
from lib.config.keys import ssh_keys
from lib.config.writing import demand_valid
from lib.config.written import Written
from lib.ours import Ours
from lib.workstation import notes
from lib.workstation.shell import Shell


def key_file(path: str) -> list[Tick]:
    """Return a row on the file of the public ssh keys."""
    return asked("ssh_key_file", _keys, path)


def _keys(path: str) -> str:
    count = len(ssh_keys(path))
    return f"{count} public key{'s' * (count > 1)}"


def own(ours: Ours, form: tuple, keys: str, file: str, values: dict, how: dict) -> list[Tick]:
    """Return a row on the operator's own configurations, of the cluster and roles; none without.

    They must be valid once they are merged. `form` and `how` are the arguments of Form and `rows`.
    """
    if not file and not ours.roles:
        return []
    return asked("config_file", _merged, ours, form, keys, file, values, how)


def _merged(ours: Ours, form: tuple, keys: str, file: str, values: dict, how: dict) -> str:
    base = discovery.service(how["service"], ours.cloud.profile.discovery)
    start = bootstrap(ours, base)
    start = addresses.settle(ours.cloud, start, ours.zone, how["network"], how["fixed"])
    form = Form(*form)
    given = config_files(ours.roles, file, values, form, start)
    config = Config(form, ssh_keys(keys), start, *given)
    for text in config.texts().values():
        demand_valid(text)
    files = dict.fromkeys(filter(None, [file, *(r.config_file for r in ours.roles)]))
    return f"{', '.join(files) or 'that of each role'} fits into the cluster's own"


def rows(
    ours: Ours, shell: Shell, work_dir: str, service: str, network: str, fixed: Sequence[str]
) -> list[Tick]:
    """Return rows on how the etcds are to find each other: by `service`, or `fixed` addresses.

    What is written already must be good for the machines that are missing.
    """
    found = asked("work_dir", _folder, ours, shell, work_dir)
    is_whole = all(row.ok != "✗" for row in found)
    there = written.read(shell, work_dir) if is_whole else Written(work_dir)
    found += asked("discovery", _service, ours, service, there)
    if any(row.ok == "✗" for row in found):
        return found
    found += asked("fixed_addresses", _addresses, ours, service, network, fixed, there)
    if there.text:
        found += asked("the token that is written", written.demand_usable, ours, there)
        if there.addresses:
            found += asked("the addresses", addresses.demand_free, ours, there.addresses)
    return found


def _folder(ours: Ours, shell: Shell, work_dir: str) -> str:
    noted = notes.read(shell, work_dir)
    notes.demand_of(ours.cluster_name, noted, work_dir)
    written.read(shell, work_dir)
    return f"{work_dir} is {ours.cluster_name}'s" if noted else f"{work_dir} holds nothing yet"


def _service(ours: Ours, service: str, there: Written) -> str:
    base = discovery.service(service, ours.cloud.profile.discovery)
    if base == discovery.STATIC:
        return "none: the machines have fixed addresses"
    if there.text:
        return f"{base}, not needed any more"
    discovery.demand_reachable(base)
    return f"{base} answers"


def _addresses(ours: Ours, service: str, network: str, fixed: Sequence[str], there: Written) -> str:
    base = discovery.service(service, ours.cloud.profile.discovery)
    asked_for = bootstrap(ours, base)
    had = addresses.kept(ours, there.addresses)
    found = addresses.settle(ours.cloud, asked_for, ours.zone, network, fixed, had)
    return ", ".join(found.addresses) or "none"
