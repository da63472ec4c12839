"""The cloud: what is asked of it, and how it is changed.

`cloud.call(command, …)` returns the unwrapped answer, `cloud.list(command, …)` every row of every
page. A change is written into the journal and sent once; if its answer is lost, `lib.changes` finds
out what became of it.
"""

import os
import sys
from typing import Any

from lib import changes, profiles, tables, underway
from lib.api.client import Client
from lib.api.transport import QUESTION, wire_params
from lib.errors import Refused
from lib.record import facts, locks, masks

KEPT = 5.0  # seconds that a list counts within a run


class Cloud(Client):
    """A cloud that can be asked and changed."""

    def call(self, command: str, **params: Any) -> dict:
        """Send one command, a question or a change, and return what stands inside its answer.

        Values may be str, numbers, bool, None (left out), lists of words, lists of dicts
        (`tags=[{"key": …, "value": …}]`). Raises ParamsError before anything is sent, Refused,
        Unreachable.
        """
        try:
            if QUESTION.match(command):
                return self.ask(command, **params)
            return self.change(command, params)
        except Refused as no:
            raise self._or_nearest(no) from None

    def change(
        self, command: str, params: dict, *, what: str = "", within: float = 3600, expect: float = 0
    ) -> dict:
        """Send one change as `call` does: the one path of all changes.

        `what` it is about goes into the journal, and `within` how many seconds it must end, also
        if its answer is lost or another process waits for it; `expect` are those it should take.
        """
        params = self._in_project(command, params)
        wire_params(params)
        underway.mark(self, command, params)
        return changes.send(self, command, params, what, within, expect)


def connect(profile: str, project: str = "", cluster: str = "", **settings: Any) -> Cloud:
    """Return the cloud of a profile, and in it a project; settings are fields of Cloud.

    A notebook by hand that names its cluster changes nothing while a run is at work on that.
    Raises ProfileError, NotOne for an unknown project; `local` starts the local cloud if need be.
    If the journal tells of changes whose end was not seen, they are settled first, which may mean
    to wait for a job.
    """
    tables.set_up()
    for secret in profiles.kept():
        masks.add(secret)
    if os.environ.get("RUNBOOK_RUN"):  # by hand a cell that is run again asks again
        settings = {"keep": KEPT} | settings
    cloud = Cloud(profiles.read(profile), project=project, cluster=cluster, **settings)
    if cloud.keep:
        cloud.lists.take_up(cloud.gate.name)
        ipython = sys.modules.get("IPython")
        if shell := ipython and ipython.get_ipython():
            shell.events.register("post_run_cell", cloud.lists.leave)
    key = facts.fingerprint(cloud.profile.key)
    facts.add(profile=profile, endpoint=cloud.profile.endpoint, key_fingerprint=key)
    if cluster:
        locks.announce(locks.Claim(cloud.profile.endpoint, project, cluster))
    changes.settle(cloud)
    return cloud
