"""Lists that are always empty here, of resources that this cloud does not have (`absent.txt`)."""

from pathlib import Path

from ..state.cloud import Cloud, Listing
from ..state.registry import command


def _register(block: str) -> None:
    kind = block.split("\n", 1)[0].rpartition(" ")[2]

    @command(block)
    def none(cloud: Cloud, **_: object) -> Listing:
        return Listing(kind, [])


for _block in Path(__file__).with_name("absent.txt").read_text("utf-8").split("\n\n"):
    _register(_block)
