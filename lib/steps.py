"""Steps: the changes of a plan, as plain data."""

from dataclasses import dataclass, field

MAKES = ("associate", "copy", "create", "deploy", "fetch", "register", "write")
REMOVES = ("delete", "destroy", "disassociate")


class Id(str):
    """The id of something in a request, which a plan shows with its name."""

    name: str

    @classmethod
    def of(cls, row: dict, by: str = "name") -> "Id":
        """Return the id of a row, named by its field `by`."""
        new = cls(row["id"])
        new.name = str(row.get(by, ""))
        return new

    def __repr__(self) -> str:
        short = self.partition("-")[0]  # of a UUID
        return f"{self.name} ({short})" if self.name else str(self)


@dataclass(frozen=True)
class Step:
    """One change, with the reason for it: plain data.

    `params` go to the cloud as they are; a value of type Pending stands for something an earlier
    stage has yet to create. `tags` go on what the step creates. `expect` is about how many seconds
    the job takes, 0 if unknown.
    """

    command: str
    params: dict
    why: str
    what: str = ""
    tags: dict = field(default_factory=dict)
    resource: str = ""
    expect: float = 0

    @property
    def effect(self) -> str:
        """Whether it makes, changes or removes something, by its command's verb."""
        if self.command.startswith(MAKES) and self.command != "createTags":
            return "make"
        return "remove" if self.command.startswith(REMOVES) else "change"


@dataclass(frozen=True)
class Pending:
    """Stands in a plan for what does not exist yet, and names the stage that creates it."""

    what: str
    stage: str

    def __str__(self) -> str:
        return f"({self.what}, from {self.stage})"


def tag_params(resource_ids: list[str], resource: str, tags: dict) -> dict:
    """Return the parameters of createTags for resources of one kind."""
    rows = [{"key": k, "value": v} for k, v in tags.items()]
    return {"resourceids": resource_ids, "resourcetype": resource, "tags": rows}
