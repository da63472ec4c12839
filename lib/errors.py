"""Errors, told apart by what may have changed at the cloud.

RunbookError
├── ParamsError      nothing was sent
├── ProfileError     nothing was sent
├── NotOne           nothing was sent
├── CheckFailed      nothing was sent by this cell
├── ShellFailed      a command on the workstation failed; its text says how far it came
│   └── OutOfSight   its end was not seen: it may run on, or be done
└── CloudError
    ├── Refused      the cloud said no; nothing changed, but for a 530 (internal error), which may
    │                leave something behind: it is looked for, and the text names what is found
    ├── JobFailed    accepted, then failed; something may have changed
    ├── JobTimeout   still running, may yet succeed
    ├── Incomplete   a list that lacks rows; nothing was changed
    ├── TooManyRows  a list longer than the profile allows; nothing was changed
    └── Unreachable  no usable answer; a change may or may not have been made
"""

import re
from unicodedata import category

TRACE = "application/vnd.runbook.trace+json"  # of the output that holds a traceback behind a fold
# Whether repeating is safe, by what may have changed.
FIXED = "Yes, once the cause is fixed; the failed call changed nothing."
CHECKS = "Yes: a stage checks the cloud before it acts, and skips finished work."
WAIT = "Yes, but wait first until the running job or command has ended."
JOB = (
    "Yes, once the cause is fixed. The job may have changed something before it failed, but the "
    "stage checks the cloud before it acts."
)
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.?)")


def plain(text: object) -> str:
    r"""Return a text without escape codes and control characters, except for line ends.

    Other spaces than that of ASCII stay: a name may hold U+3000, and is typed again as it is.

    >>> plain("a\x1b[31mred\x07"), plain("東京\u3000一") == "東京\u3000一"
    ('ared', True)
    """
    bare = _ESCAPES.sub("", str(text)).replace("\t", " ")
    return "".join(c for c in bare if c == "\n" or c.isprintable() or category(c) == "Zs")


class RunbookError(Exception):
    """Base of all errors that a runbook raises on purpose; its text is for the operator.

    It holds no control characters, whatever a cloud or a file had written into it. `next_step`, if
    there is one, is the end of the text; `again` says whether repeating is safe.
    """

    again = FIXED
    next_step = ""

    def __init__(self, text: str = ""):
        super().__init__(plain(text))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback, as papermill logs it.

        `lib.lab.kernel` adds the traceback behind a fold.
        """
        step = plain(self.next_step)
        happened = str(self).removesuffix(step).rstrip()
        return box(f"{type(self).__name__}: {happened}", {"Do": step, "Again?": self.again})


def box(happened: str, words: dict[str, str]) -> list[str]:
    r"""Return the lines of an error for a notebook: what happened, then words by their heads.

    >>> [plain(line) for line in box("no\nmore", {"Do": "wait", "Again?": ""})]
    ['✗ no', 'more', '', 'Do      wait']
    """
    first, *more = happened.splitlines() or [""]
    advice = [f"\x1b[1m{head:7}\x1b[0m {text}" for head, text in words.items() if text]
    return [f"\x1b[1;31m✗ {first}\x1b[0m", *more, "", *advice]


class ParamsError(RunbookError):
    """A parameter has a value that it cannot have: name, wanted, and got where it may be shown.

    Or a sentence says why, and what to do (`text`).
    """

    again = "Yes, with another value: run the notebook from its parameters on."

    def __init__(self, name: str, wanted: str = "", got: object = None, *, text: str = ""):
        self.name, self.wanted, self.got, self.text = name, wanted, got, text
        found = "" if got is None else f", found {got!r}"
        super().__init__(f"{name}: {text or f'wanted {wanted}{found}'}. Nothing was sent.")


class ProfileError(RunbookError):
    """A profile cannot be used; the text says which file and key, never their values."""


class NotOne(RunbookError):
    """A name fits no resource, or more than one: kind, query, candidates, and what to do next.

    `sides` are what is wanted and what is found, in words. `found` candidates fit: with 0 they are
    what there is otherwise.
    """

    def __init__(
        self, kind: str, query: str, candidates: list[str], next_step: str = "", found: int = 0
    ):
        self.kind, self.query, self.candidates = kind, query, candidates
        self.next_step, self.found = next_step, found
        listed = "\n".join(f"  {c}" for c in candidates) or "  (none)"
        self.sides = f"exactly one {kind} with {query}", f"these:\n{listed}"
        text = f"wanted {self.sides[0]}; there are:\n{listed}"
        super().__init__(f"{text}\n{next_step}" if next_step else text)


class CheckFailed(RunbookError):
    """A check found something else than it must: what, wanted, got, and what to do next.

    Without `wanted` and `got`, `what` is a sentence that says it all, kept in `text` too; a list of
    lines may follow it.
    """

    def __init__(self, what: str, wanted: object = None, got: object = None, next_step: str = ""):
        self.what, self.wanted, self.got, self.next_step = what, wanted, got, next_step
        self.text = what if wanted is None else ""
        text = self.text or f"{what}: wanted {wanted}, found {got}"
        text += "" if "\n" in text or text.endswith(".") else "."
        joint = "\n" if "\n" in text else " "
        super().__init__(f"{text}{joint}{next_step}" if next_step else text)


class AtWork(CheckFailed):
    """Another process is at work on the cluster."""


class ShellFailed(RunbookError):
    """A command on the workstation failed: command, rc, and the end of its output."""

    again = CHECKS

    def __init__(self, command: str, rc: int | None, output: str, next_step: str = ""):
        self.command, self.rc, self.output, self.next_step = command, rc, output, next_step
        end = "did not end in time" if rc is None else f"ended with {rc}"
        text = f"`{command}` on the workstation {end}: {output.strip()[-500:] or '(no output)'}"
        super().__init__(f"{text}\n{next_step}" if next_step else text)


class OutOfSight(ShellFailed):
    """The end of a command was not seen: it may run on, or be done."""

    again = WAIT


class CloudError(RunbookError):
    """A call to the cloud failed: command."""

    def __init__(self, command: str, text: str):
        self.command = command
        super().__init__(text)


class Refused(CloudError):
    """The cloud refused a call: command, code, text (the cloud's own words).

    Nothing changed, except after a 530 (ApiErrorCode.INTERNAL_ERROR) what the text then names.
    """

    def __init__(self, command: str, code: int, text: str, hint: str = ""):
        self.code, self.text, self.next_step = code, plain(text), hint
        joint = ("" if text.rstrip().endswith((".", "!", "?")) else ".") + " " if hint else ""
        super().__init__(command, f"{command} was refused ({code}): {text}{joint}{hint}")


class JobFailed(CloudError):
    """A job was accepted and then failed: command, job, code, text, resource (its id, if known)."""

    again = JOB

    def __init__(self, command: str, job: str, code: int, text: str, resource: str = ""):
        self.job, self.code, self.text, self.resource = job, code, plain(text), resource
        what = f" of {resource}" if resource else ""
        super().__init__(
            command,
            f"{command}{what} was accepted and then failed ({code}): {text} [job {job}]. "
            "It may have changed something: run this stage again, it looks before it acts.",
        )


class JobTimeout(CloudError):
    """A job is still running when patience ends: command, job, seconds, resource."""

    again = WAIT

    def __init__(self, command: str, job: str, seconds: float, resource: str = ""):
        self.job, self.seconds, self.resource = job, seconds, resource
        what = f" of {resource}" if resource else ""
        super().__init__(
            command,
            f"{command}{what} is still running after {seconds:.0f} s [job {job}]. It was not "
            "cancelled and may yet succeed: wait, then run this stage again.",
        )


class Incomplete(CloudError):
    """A list lacks rows that the server counts, however it is asked: command, shown, count."""

    def __init__(self, command: str, shown: int, count: int):
        self.shown, self.count = shown, count
        super().__init__(
            command,
            f"{command}: the cloud counts {count} rows and shows {shown} of them, however it is "
            "asked. A hidden row might be created a second time, so nothing was changed. Run this "
            "stage again when nothing else is being created or removed in the account.",
        )


class TooManyRows(CloudError):
    """A list has more rows than the profile allows: command, most (`max_rows`)."""

    def __init__(self, command: str, most: float):
        self.most = most
        super().__init__(
            command,
            f"{command}: more than {most:.0f} rows came, which is `max_rows` of the profile. If "
            "the account really has that many, set it higher. Nothing was changed.",
        )


class Unreachable(CloudError):
    """No usable answer came: command, endpoint, cause; `passing` if asking again may help."""

    again = CHECKS

    def __init__(
        self, command: str, endpoint: str, cause: str, *, may_have_changed: bool,
        passing: bool = True,
    ):  # fmt: skip
        self.endpoint, self.cause, self.passing = endpoint, plain(cause), passing
        self.may_have_changed = may_have_changed
        after = "Nothing was changed by it."
        if may_have_changed:
            after = "It may have been done all the same: run this stage again, it looks first."
        super().__init__(command, f"{command}: no answer from {endpoint}: {cause}. {after}")
