"""The texts on a run as it begins and ends."""

import json

from lib.chain import summary
from lib.record.provenance import FACTS


def test_of_many_machines_the_first_and_the_last_are_listed(tmp_path):
    rows = [{"name": f"m-{n}", "address": "a", "login": f"ssh core@m-{n}"} for n in range(1, 1001)]
    for count, lines in ((3, 4), (1000, 22)):
        (tmp_path / FACTS).write_text(json.dumps({"machines": rows[:count]}) + "\n")
        found = summary.machines(tmp_path)
        assert len(found) == lines and found[-1] == f"  m-{count}  a  ssh core@m-{count}"
    assert found[-2] == "  … 980"
