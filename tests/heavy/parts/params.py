"""Parameter files and options: each is refused with our words, or read back as it was read."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from harness import ROOT
from heavy.judging import NASTY, Fault, demand_clean, mutated

from lib.chain import params, values
from lib.errors import plain
from lib.record.faults import BadInput

SECRET = "Zk9-secret-of-the-profile-77"
LONGEST = 20_000  # characters of what is said of one file


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Params"]:
    """Give the part of the fuzz, at work in a folder."""
    yield Params(folder)


class Params:
    """Makes files from those of the project, line by line and byte by byte."""

    def __init__(self, folder: Path):
        self.file = folder / "my.yaml"
        self.table = params.gather(ROOT / "notebooks")
        self.texts = [path.read_bytes() for path in sorted((ROOT / "params").glob("*.yaml"))]

    def case(self, chance: random.Random) -> dict:
        """Return a file and options."""
        data = chance.choice(self.texts)
        if chance.random() < 0.6:
            lines = data.splitlines(keepends=True)
            pair = self._pair(chance, ": ").encode("utf-8", "surrogatepass")
            lines.insert(chance.randint(0, len(lines)), pair + b"\n")
            data = b"".join(chance.sample(lines, chance.randint(1, len(lines))))
        if chance.random() < 0.6:
            data = mutated(data, chance)
        options = [self._pair(chance, "=") for _ in range(chance.choice((0, 0, 1)))]
        return {"file": data.decode("latin-1"), "options": options}

    def _pair(self, chance: random.Random, sign: str) -> str:
        value = chance.choice([*NASTY, SECRET, f"[{SECRET}, {chance.choice(NASTY)}]"])
        value = chance.choice([value, f"[{value}]", f'"{value}"', f"{{a: {value}}}"])
        return f"{chance.choice([*self.table, 'token', chance.choice(NASTY)])}{sign}{value}"

    def attempt(self, case: dict) -> None:
        """Load a file; what is accepted is written and read again."""
        self.file.write_bytes(case["file"].encode("latin-1"))
        try:
            held = values.load(self.table, [self.file], case["options"], [SECRET])
        except BadInput as bad:
            text = "\n".join(plain(fault) for fault in bad.faults)
            if len(text) > LONGEST:
                raise Fault(f"{len(text)} characters are said") from None
            return demand_clean(text, [SECRET])
        text = values.as_yaml(held)
        if SECRET in text:
            raise Fault("a secret was accepted")
        self.file.write_text(text, "utf-8")
        again = values.again(self.table, self.file)
        lost = [name for name in held if held[name].value != again[name].value]
        if lost:
            raise Fault(f"read otherwise when it is read again: {lost}")
