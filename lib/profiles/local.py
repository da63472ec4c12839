"""The profile `local`: the embedded cloud, which is started if need be."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from lib.errors import ProfileError
from lib.profiles.profile import Profile
from lib.record.journal import ROOT

OPTIONS = (
    *("dialect", "time_scale", "etcd", "expunge_delay", "may_expunge", "refuse"),
    *("project", "custom_offering", "second_nic", "seed"),
)


def kept() -> list[str]:
    """Return the keys of the local clouds that were started."""
    base = Path(os.environ.get("RUNBOOK_LOCALCLOUD") or ROOT / ".localcloud")
    texts = []
    for path in base.glob("*/server.json"):
        with suppress(OSError, ValueError, AttributeError):  # damaged: for the local cloud to tell
            fact = json.loads(path.read_text("utf-8"))
            texts += [str(fact.get(name, "")) for name in ("apikey", "secretkey")]
    return texts


def start(name: str, options: dict) -> Profile:
    """Start the local cloud unless it runs, and return its profile. Raises ProfileError."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        known = ", ".join(OPTIONS)
        raise ProfileError(f"profile {name}: unknown option {unknown[0]}; there are {known}")
    if "seed" in options:  # a kernel works elsewhere than its operator
        options = options | {"seed": ROOT / options["seed"]}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "lib.localcloud", "start", "--json", *flags]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=60
    )
    if done.returncode:
        raise ProfileError(f"the local cloud did not start: {done.stderr.strip()[-500:]}")
    if done.stderr.strip():  # what it changed of a cloud that runs
        print(done.stderr.strip())
    facts = json.loads(done.stdout)
    return Profile(
        name=name,
        endpoint=facts["endpoint"],
        key=facts["apikey"],
        secret=facts["secretkey"],
        discovery=facts["discovery"],
        shell=tuple(facts["shell"]),
        machine_shell=tuple(facts["machine_shell"]),
        time_scale=facts["time_scale"],
    )
