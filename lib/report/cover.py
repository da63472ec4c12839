"""The first page of the report: which cluster, which cloud, who, why, when, and the seal."""

import shlex
from datetime import datetime

from lib.record import ledger, manifest
from lib.record.texts import translated
from lib.report.past import Past
from lib.report.words import REHEARSAL, clock, cloud_of, joined


def facts(past: Past, key: str = "") -> dict[str, str]:
    """Return the facts on a run by name, without empty ones; `key` will sign its seal."""
    observed, params = past.facts.get("observed") or {}, past.params
    server = (
        f"CloudStack {_text(observed['server_version'])}" if observed.get("server_version") else ""
    )
    cloud = cloud_of(params)
    cloud = translated("rehearsal on the local cloud") if cloud == REHEARSAL else cloud
    found = {
        "cluster": params.get("cluster_name"),
        "cloud": joined(cloud, _text(observed.get("endpoint")), server),
        "zone": joined(
            params.get("zone"), params.get("project") and f"project {params['project']}"
        ),
        "account": joined(
            _text(observed.get("account")),
            observed.get("key_fingerprint") and f"API key {_text(observed['key_fingerprint'])}",
        ),
        "who": _who(past.facts),
        "reason": past.facts.get("reason") or translated("none given"),
        "approved by": _approved(past),
        "time": _times(past.started, past.ended),
        "from outside": outside(past).get("login"),
        "mode": joined(
            params.get("mode"),
            translated("{} stages" if len(past.stages) != 1 else "{} stage", len(past.stages)),
            _code(past.facts),
        ),
        "seal": _seal(past, key),
    }
    return {name: str(text) for name, text in found.items() if text}


def outside(past: Past) -> dict[str, str]:
    """Return name, address and login of the machine that is reached from outside, {} if none."""
    found = (past.facts.get("observed") or {}).get("outside")
    last = found[-1] if isinstance(found, list) and found else found
    return last if isinstance(last, dict) else {}


def to_check(folder: str, runbook: str) -> list[str]:
    """Return the commands that check the seal of a run, and its signature.

    `runbook` is that command, as it is typed.
    """
    name = shlex.quote(folder)
    return [
        f"{runbook} verify {name}",
        f"{runbook} verify {name} --signers FILE",
        f"cd {name} && sha256sum --check {manifest.FILE}",
    ]


def _seal(past: Past, key: str) -> str:
    """Return the state of the seal: it covers this page, so mostly it is made after the page."""
    sealed, signature = (past.folder / name for name in (manifest.FILE, manifest.SIGNATURE))
    begun = sum(event.get("event") in ledger.BEGINNINGS for event in past.events)
    if manifest.plain(sealed) and len(manifest.every(past.folder)) >= begun:
        by = "signed" if signature.exists() else "not signed"
        return f"sealed, {by}; sha256 of the seal {manifest.digest(sealed)}"
    if past.cause == "running":
        return "not sealed: the run is still going on"
    by = f"signed with {key}" if key else "not signed"
    return f"sealed when this page was written, together with it; {by}"


def _who(found: dict) -> str:
    user, sudo, host = (str(found.get(name) or "") for name in ("user", "sudo_user", "host"))
    return joined(f"{user} (sudo of {sudo})" if sudo else user, host, by=" at ")


def _approved(past: Past) -> str:
    """Return who approved the run and its plan, "" where nobody did."""
    line = next((e for e in past.events if e.get("event") == "approved"), {})
    plan = f"the plan of {line['plan']}" if line.get("plan") else ""
    return joined(line.get("by"), plan)


def _times(started: datetime | None, ended: datetime | None) -> str:
    """Return from when to when, in local time with its zone."""
    if not started or not ended:
        return clock(started or ended)
    first, last = started.astimezone(), ended.astimezone()
    same = (first.date(), first.tzinfo) == (last.date(), last.tzinfo)
    if same:
        return f"{first:%Y-%m-%d %H:%M:%S} to {last:%H:%M:%S %Z}"
    return f"{clock(first)} to {clock(last)}"


def _code(found: dict) -> str:
    code = found.get("code")
    code = code if isinstance(code, dict) else {}  # of a damaged run.json
    commit = str(code.get("commit") or "")[:12]
    return f"code {commit}{' with local changes' if code.get('dirty') else ''}" if commit else ""


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
