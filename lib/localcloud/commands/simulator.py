"""Commands that real clouds do not have: faults, settings, and the record of calls.

Requests to the discovery service, called newDiscovery, getDiscovery and putDiscovery, can be slow
or dropped only.
"""

from typing import Any

from ..state.cloud import DEFAULTS, Cloud, Listing
from ..state.faults import FAULTS, Fault
from ..state.refusals import invalid
from ..state.registry import command
from ..workstation.shell import set_time_scale
from . import projects

NUMBERS = ("count", "skip", "code", "seconds")


@command("configureSimulator")
def configure_simulator(cloud: Cloud, name: str, value: str = "", count: int = 1) -> bool:
    """Plan a fault or change a setting."""
    if name == "reset":
        cloud.faults.reset()
        return True
    pairs = dict(_pair(item) for item in value.split(";") if item.strip())
    if name in DEFAULTS:
        _change(cloud, name, pairs)
    else:
        cloud.faults.planned.append(_fault(name, pairs, count))
    return True


def _pair(item: str) -> tuple[str, str]:
    key, colon, value = item.partition(":")
    if not colon:
        raise invalid(f'value: wanted "key:value;key:value", found "{item}"')
    return key.strip(), value


def _change(cloud: Cloud, name: str, pairs: dict[str, str]) -> None:
    setting = cloud.setting(name)
    known = setting.keys() - {"id", "n"}
    unknown = set(pairs) - known
    if unknown:
        wanted = ", ".join(k for k in setting if k in known)
        raise invalid(f"{name}: wanted {wanted}, found {', '.join(sorted(unknown))}")
    values = {k: _value(k, text, setting[k]) for k, text in pairs.items()}
    cloud.state.change("setting", setting, **values)
    if name == "project":
        projects.found(cloud, setting["name"])
    if name == "time":
        set_time_scale(cloud.folder, setting["scale"])


def _value(key: str, text: str, default: Any) -> Any:
    return text if isinstance(default, str) else _number(key, text)


def _number(key: str, text: str) -> float:
    try:
        return float(text) if "." in text or "e" in text else int(text)
    except ValueError:
        raise invalid(f"{key}: wanted a number, found {text}") from None


def _fault(name: str, pairs: dict[str, str], count: int) -> Fault:
    kind = pairs.pop("fault", "")
    if kind not in FAULTS.split():
        raise invalid(f"fault: wanted one of {FAULTS.replace(' ', ', ')}, found {kind or 'none'}")
    texts = {key: pairs.pop(key) for key in ("text", "result") if key in pairs}
    if not set(pairs) <= set(NUMBERS[1:]):
        raise invalid(f"value: wanted fault, code, text, seconds, skip, found {', '.join(pairs)}")
    numbers: dict[str, Any] = {key: _number(key, text) for key, text in pairs.items()}
    return Fault(name, kind, count, **texts, **numbers)


@command("listSimulatorCalls")
def list_simulator_calls(cloud: Cloud, keyword: str = "") -> Listing:
    """Answer with the record, oldest first."""
    rows = [c._asdict() for c in cloud.faults.calls if keyword in c.command]
    return Listing("simulatorcall", rows)
