"""The cloud-config: rendered from parameters, validated, and kept on the workstation.

It carries the discovery token, which is a secret: what is shown of it goes through `masked`.
"""

import difflib
import json
import re
from pathlib import Path

from lib import notes
from lib.cloudlint import key_fault, validate
from lib.discovery import NEW_TOKEN, TokenUrl, members, new_token, service
from lib.discovery import masked as masked_url
from lib.errors import CheckFailed, ParamsError
from lib.plan import Step, check_mode
from lib.profiles import ROOT
from lib.progress import tell
from lib.shell import Shell, find_text, write_text

STAGE = "20-write-cloud-config"
START_ANEW = f"Move the file away, or run 90-remove-cluster; then {STAGE} writes a new one."
COREOS = """\
#cloud-config

coreos:
  etcd:
    discovery: {url}
    addr: $private_ipv4:4001
    peer-addr: $private_ipv4:7001
  units:
    - name: etcd.service
      command: start
    - name: fleet.service
      command: start

ssh_authorized_keys:
{keys}
"""
# Flatcar has etcd in a container, and nothing that fills $private_ipv4 on every hypervisor: the
# address is the one the machine would reach the world from. Nothing is sent to 192.0.2.1.
FLATCAR = """\
#cloud-config

coreos:
  units:
    - name: etcd-address.service
      command: start
      content: |
        [Unit]
        Description=Note the address of this machine for etcd
        Wants=network-online.target
        After=network-online.target
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/sh -c 'until ip -4 route get 192.0.2.1 | grep -o "src [0-9.]*" \
| sed "s/src /ETCD_IP=/" | grep . >/run/etcd-address.env; do sleep 1; done'
    - name: etcd-member.service
      command: start
      enable: true
      drop_ins:
        - name: 20-cluster.conf
          content: |
            [Unit]
            Requires=etcd-address.service
            After=etcd-address.service
            [Service]
            EnvironmentFile=/run/etcd-address.env
            ExecStart=
            ExecStart=/usr/lib/flatcar/etcd-wrapper $ETCD_OPTS \\
              --listen-peer-urls=http://${{ETCD_IP}}:2380 \\
              --listen-client-urls=http://0.0.0.0:2379 \\
              --initial-advertise-peer-urls=http://${{ETCD_IP}}:2380 \\
              --advertise-client-urls=http://${{ETCD_IP}}:2379 \\
              --discovery={url} --discovery-fallback=exit

ssh_authorized_keys:
{keys}
"""
TEMPLATES = {"coreos-install": COREOS, "flatcar-install": FLATCAR}


def render(*, installer: str, discovery_url: str, ssh_keys: list[str]) -> str:
    """Return the cloud-config for what the installer installs."""
    if installer not in TEMPLATES:
        raise ParamsError("installer", " or ".join(TEMPLATES), installer)
    plain = re.compile(r"[\w@.+/= -]+")
    keys = [k if plain.fullmatch(k) else json.dumps(k, ensure_ascii=False) for k in ssh_keys]
    listed = "\n".join(f"  - {k}" for k in keys)
    return TEMPLATES[installer].format(url=str(discovery_url), keys=listed)


def ssh_keys(path: str) -> list[str]:
    """Return the public keys of a file, one a line; a relative path starts at the project's root.

    Raises ParamsError naming the line that is no public key; nothing of the file is repeated.
    """
    file = ROOT / Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as fault:
        raise _bad_key_file(path, f"one that cannot be read ({type(fault).__name__})") from None
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise _bad_key_file(path, "a private key: give the .pub file beside it")
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    keys = [(n, line) for n, line in lines if line and not line.startswith("#")]
    for number, key in keys:
        if key_fault(key):
            raise _bad_key_file(path, f"in line {number} something else: {key_fault(key)}")
    if not keys:
        raise _bad_key_file(path, "none in it")
    return [key for _, key in keys]


def _bad_key_file(path: str, found: str) -> ParamsError:
    return ParamsError(f"ssh_key_file {path}", "public ssh keys, one a line", found)


def masked(text: str) -> str:
    """Return the text with the discovery token hidden but for its first four digits.

    >>> masked("discovery: https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0")
    'discovery: https://discovery.etcd.io/217d…'
    """
    url = r"(?i)(discovery[\"']?\s*[:=]\s*[\"']?)(https?://[^\s\"']+)"
    text = re.sub(url, lambda m: m[1] + masked_url(m[2]), text)
    return re.sub(r"\b([0-9a-f]{4})[0-9a-f]{28}\b", r"\1…", text)


def discovery_url(text: str) -> TokenUrl:
    """Return the token's URL in a cloud-config, "" if none. Raises CheckFailed for two of them."""
    found = set(re.findall(r"(?m)^\s*discovery:\s*[\"']?(http[^\s\"']+)", text))
    found |= set(re.findall(r"--discovery=(http[^\s\"']+)", text))
    if len(found) > 1:
        raise CheckFailed("the cloud-config", "one discovery URL", f"{len(found)}", START_ANEW)
    return TokenUrl(found.pop() if found else "")


def difference(expected: str, found: str) -> str:
    """Return the lines that differ, as `diff -u` shows them, tokens masked."""
    texts = [masked(t).splitlines() for t in (expected, found)]
    lines = difflib.unified_diff(*texts, "wanted", "found", lineterm="", n=1)
    return "\n".join(lines) or "(only the discovery token or the line ends)"


def path(work_dir: str) -> str:
    """Return where the cloud-config is on the workstation, below $HOME."""
    return f"{work_dir}/cloud-config.yml"


def find(shell: Shell, work_dir: str) -> str | None:
    """Return the cloud-config on the workstation, None if there is none."""
    return find_text(shell, path(work_dir))


def current(shell: Shell, work_dir: str) -> str:
    """Return the cloud-config on the workstation, "" if there is none."""
    return find_text(shell, path(work_dir)) or ""


def plan_write(
    shell: Shell,
    *,
    work_dir: str,
    installer: str,
    ssh_keys: list[str],
    size: int,
    discovery: str,
    local: str,
    made: bool = False,
) -> list[Step]:
    """Return the step that writes the cloud-config, none if it is there as wanted.

    `size` machines find each other at `discovery`, `local` being the profile's service; of a text
    that is there only the token may differ. `made` says that something made from it is there.
    """
    params = {"installer": installer, "ssh_keys": ssh_keys}
    params |= {"base": service(discovery, local), "size": size}
    render(installer=installer, discovery_url="", ssh_keys=ssh_keys)
    text = current(shell, work_dir)
    if text:
        noted = notes.read(shell, work_dir).get("config") or {}
        _demand_same(text, noted, path(work_dir), params)
    if text or made:
        return []
    why = f"{path(work_dir)} is absent from the workstation"
    return [Step("write", params, why, path(work_dir))]


def _demand_same(text: str, noted: dict, where: str, params: dict) -> None:
    """Raise CheckFailed unless the text is what the parameters give with the token it has."""
    wanted = _rendered(params, discovery_url(text))
    if text != wanted:
        shown = f"\n{difference(wanted, text)}\n{START_ANEW}"
        raise CheckFailed(where, "as the parameters say", "other lines", shown)
    want, got = ({"base": p["base"], "size": p["size"]} for p in (params, params | noted))
    if want != got:
        raise CheckFailed(f"the token in {where}", _service(want), _service(got), START_ANEW)


def _service(token: dict) -> str:
    return f"one of {token['base']} for {token['size']} machines"


def _rendered(params: dict, url: TokenUrl) -> str:
    keys = params["ssh_keys"]
    return render(installer=params["installer"], discovery_url=url, ssh_keys=keys)


def apply_write(shell: Shell, plan: list[Step], mode: str, *, work_dir: str) -> None:
    """Ask for a token, render, validate, and write; in plan mode do nothing."""
    check_mode(mode)
    if mode == "plan" or not plan:
        print("Plan mode: nothing was written." if plan else "Nothing to do.")
        return
    for step in plan:
        url = new_token(step.params["base"], step.params["size"])
        text = _rendered(step.params, url)
        demand_valid(text)
        write_text(shell, path(work_dir), text)
        token = {k: step.params[k] for k in ("base", "size")}
        notes.update(shell, work_dir, config=token)
        tell("done", step.command, step.what, f"with the token {masked_url(url)}")


def demand_valid(text: str) -> None:
    """Raise CheckFailed with every line that is wrong, or say that none is."""
    problems = validate(text)
    if problems:
        listed = "\n".join(f"  {p}" for p in problems)
        shown = f"\n{masked(listed)}\nNothing was written: mend the lines, or what they came from."
        raise CheckFailed("the cloud-config", "valid", f"{len(problems)} problems", shown)
    print(f"✓ the cloud-config is valid: {len(text.splitlines())} lines")


def check_valid(shell: Shell, work_dir: str, mode: str) -> None:
    """Do `demand_valid` on the workstation's; only in plan mode may it be absent."""
    text = current(shell, work_dir)
    if text or mode == "apply":
        demand_present(text, work_dir)
        demand_valid(text)
    else:
        print(f"no {path(work_dir)} yet: {STAGE} writes it")


def demand_present(text: str, work_dir: str) -> None:
    """Raise CheckFailed if there is no cloud-config."""
    if not text:
        raise CheckFailed(path(work_dir), "on the workstation", "absent", f"Run {STAGE} first.")


def check_token_unused(shell: Shell, work_dir: str, machines: dict[str, str]) -> None:
    """Raise CheckFailed if others than our machines (name -> address) registered with the token."""
    url = discovery_url(current(shell, work_dir))
    found = members(url) if url else {}
    strangers = sorted(set(found.values()) - set(machines.values()))
    if strangers:
        listed = ", ".join(strangers)
        raise CheckFailed("who registered with the token", "none but ours", listed, NEW_TOKEN)
    print(f"✓ the token is free for the cluster: {len(found)} of ours registered, no strangers")
