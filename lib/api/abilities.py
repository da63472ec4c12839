"""Abilities: what a server, and this account on it, can do. Every branch on a version is here.

A server may hide its version (`expose.cloudstack.version.api.list.capabilities`). It is unknown
then and not old: the commands that the server has tell instead.
"""

from __future__ import annotations  # `list` is a method here

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import pandas as pd

from lib.checks import not_allowed
from lib.errors import Refused
from lib.record import facts

COLUMNS = ["name", "type", "required", "since", "description"]
OF_ALL = ["name", "description", "isasync", "since"]
Rows = list[dict]  # `list` is a method below
NOT_ALLOWED = (401, 432)  # ApiErrorCode.UNAUTHORIZED (older versions), UNSUPPORTED_ACTION_ERROR
NO_COMMAND = (430, 431, 530)  # how listApis refuses a name that it does not know, 530 in 4.22


class Abilities(ABC):
    """What can be asked of a cloud; `lib.api.client.Client` adds how to ask."""

    @abstractmethod
    def ask(self, command: str, **params: Any) -> dict:
        """Send one question, and return what stands inside its answer."""

    @abstractmethod
    def list(self, command: str, **params: Any) -> Rows:
        """Return every row of a list command."""

    @cached_property
    def capabilities(self) -> dict:
        """What listCapabilities says, asked once; {} where this account may not call it."""
        try:
            found = self.ask("listCapabilities").get("capability", {})
        except Refused as no:
            if no.code != 432:
                raise
            found = {}
        facts.add(server_version=found.get("cloudstackversion", ""))
        return found

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version as numbers, such as (4, 20, 2, 0); () where it is hidden."""
        found = self.capabilities.get("cloudstackversion", "")
        return tuple(int(n) for n in re.findall(r"\d+", found)[:4])

    def _since(self, version: tuple[int, ...], command: str = "") -> bool:
        """Tell whether the server is of a version or newer; if it is hidden, has the command."""
        if self.version:
            return self.version >= version
        return not command or self.has_command(command) is not False

    @cached_property
    def has_tags(self) -> bool:
        """Whether resources can carry tags (createTags came after 2.2)."""
        return self._since((3,), "createTags")

    @property
    def can_deploy_stopped(self) -> bool:
        """Whether machines can be deployed stopped (`startvm`), under names that are unique.

        One that then finds no host stays Stopped and can be given another offering. On 2.2 it ends
        in Error, and its name may be used again at once.
        """
        return self.has_tags

    @property
    def can_rename(self) -> bool:
        """Whether a machine can be given another host name (`name`, since 4.5)."""
        return self._since((4, 5))

    @property
    def can_check_sha256(self) -> bool:
        """Whether a download is compared with a checksum other than MD5, since 4.11."""
        return self._since((4, 11))

    @property
    def can_download_directly(self) -> bool:
        """Whether KVM hosts can download a template themselves (`directdownload`, since 4.11)."""
        return self._since((4, 11))

    @cached_property
    def has_firewall(self) -> bool:
        """Whether public addresses have firewall rules (createFirewallRule, since 3.0)."""
        return self._since((3,), "createFirewallRule")

    @cached_property
    def has_affinity_groups(self) -> bool:
        """Whether machines can be kept on different hosts (createAffinityGroup, since 4.2)."""
        return self._since((4, 2), "createAffinityGroup")

    @cached_property
    def has_projects(self) -> bool:
        """Whether there are projects (listProjects came with 3.0)."""
        return self._since((3,), "listProjects")

    @property
    def can_choose_job_ids(self) -> bool:
        """Whether it takes the id of a job from its client (`customjobid`, since 4.5)."""
        return self._since((4, 5))

    @property
    def can_describe_commands(self) -> bool:
        """Whether it has listApis (since 4.1)."""
        return self._since((4, 1))

    @cached_property
    def lists_pending_jobs(self) -> bool:
        """Whether listAsyncJobs shows the jobs that run and no others (since 4.12)."""
        return self._since((4, 12), "listAsyncJobs")

    @property
    def can_take_long_user_data(self) -> bool:
        """Whether it takes more than 2 KiB of user data (since 4.3)."""
        return self._since((4, 3))

    @cached_property
    def can_keep_user_data(self) -> bool:
        """Whether user data can be registered, and a machine's be read again (since 4.18)."""
        return self._since((4, 18), "listUserData")

    @cached_property
    def may_expunge(self) -> bool:
        """Whether this account may expunge machines: by `allowuserexpungerecovervm` and its role.

        The default role of users lacks that command (`UserVmManagerImpl.checkExpungeVmPermission`).
        """
        allowed = bool(self.capabilities.get("allowuserexpungerecovervm"))
        return allowed and self.has_command("expungeVirtualMachine") is True

    @property
    def deploys_started(self) -> bool:
        """Whether one change deploys a machine and starts it.

        One that finds no host is in Error then. That must be expunged at once, or it holds its
        name for a day: otherwise machines are deployed stopped, and a second change starts them.
        """
        return self.may_expunge or not self.can_deploy_stopped

    @cached_property
    def may_register(self) -> bool:
        """Whether it may register user data, and delete them again; asked once."""
        if not self.may_expunge or not self.can_keep_user_data:
            return False
        return all(self.has_command(c) for c in ("registerUserData", "deleteUserData"))

    def has_command(self, name: str) -> bool | None:
        """Tell whether this account has a command; None if it may not ask that either."""
        try:
            return self._described(name) is not None
        except Refused:
            return None

    def _described(self, name: str) -> dict | None:
        """Return what listApis says of a command, None where there is none of the name."""
        try:
            found = self.list("listApis", name=name)
        except Refused as no:
            if no.code not in NO_COMMAND:
                raise
            return None
        return found[0] if found else None

    @cached_property
    def commands(self) -> dict[str, dict]:
        """What listApis says of each command of this account, by name, asked once.

        It is {} where the server has no listApis (before 4.1), or this account may not call it.
        """
        if not self.can_describe_commands:
            return {}
        try:
            return {row["name"]: row for row in self.list("listApis")}
        except Refused as no:
            if no.code not in (*NOT_ALLOWED, *NO_COMMAND):
                raise
            return {}

    def help(self, word: str = "") -> pd.DataFrame:
        """Return a table of a command's parameters, as the server itself describes them.

        Without a word it is of all commands, and where the word names none, of those that it is
        found in. It is empty, and that is said, where the server describes none, or not to this
        account. Raises Refused, with the nearest commands, where nothing is found.
        """
        if not self.can_describe_commands:
            print("This server cannot describe its commands: listApis came with 4.1.")
            return pd.DataFrame(columns=COLUMNS)
        try:
            one = self._described(word) if word else None
        except Refused as no:
            if no.code not in NOT_ALLOWED:
                raise
            print(not_allowed("listApis"))
            return pd.DataFrame(columns=COLUMNS)
        if one:
            return described(one)
        found = [row for row in self.commands.values() if _is_in(word, row)]
        if not found:
            raise no_command(word, self.commands)
        return pd.DataFrame([{c: r.get(c, "") for c in OF_ALL} for r in found], columns=OF_ALL)


def described(command: dict) -> pd.DataFrame:
    """Return the table of a command's parameters, the required ones first."""
    rows = sorted(command.get("params", []), key=lambda p: (not p.get("required"), p["name"]))
    return pd.DataFrame([{c: p.get(c, "") for c in COLUMNS} for p in rows], columns=COLUMNS)


def _is_in(word: str, row: dict) -> bool:
    return word.lower() in f"{row['name']} {row.get('description', '')}".lower()


def no_command(name: str, known: Iterable[str]) -> Refused:
    """Return the error for a command that does not exist, or not for this account.

    >>> print(no_command("listVolume", ["listVolumes", "help"]).next_step)
    Did you mean listVolumes? `cloud.help("word")` searches them.
    """
    near = " or ".join(get_close_matches(name, known, 3))
    hint = f"Did you mean {near}? " if near else ""
    text = "this cloud has no such command for this account"
    return Refused(name, 432, text, f'{hint}`cloud.help("word")` searches them.')
