"""A sample of the crash matrix: broken anywhere, a run that is continued comes to the same end.

All of it: `python tests/heavy/crash_matrix.py --all`.
"""

import multiprocessing

import pytest
from heavy import bench, trials

SAMPLE, SEED = 4, 2014
TRIED = ("4.22", "2.2")  # variants


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """A bench for each dialect, with what an undisturbed run leaves."""
    base = tmp_path_factory.mktemp("crash")
    return {v: bench.Bench(base / v, v).prepare() for v in TRIED}


def test_a_run_broken_at_a_change_and_continued_leaves_what_an_undisturbed_one_does(benches):
    points = [p for b in benches.values() for p in b.all_points()]
    chosen = trials.draw(points, SAMPLE, SEED)
    results = trials.try_points(chosen, benches, SEED)
    print(trials.matrix(results))
    assert [str(p) for p, fault, _ in results if fault] == []
    assert len(results) == SAMPLE and multiprocessing.active_children() == []


def test_every_change_of_the_procedure_is_among_the_points(benches):
    commands = {d: [c for *_, c in b.points] for d, b in benches.items()}
    modern, old = commands["4.22"], commands["2.2"]
    assert modern.count("deployVirtualMachine") == old.count("deployVirtualMachine") == 3
    assert modern.count("startVirtualMachine") == 3, "which deploys stopped and starts after that"
    assert [c for c in modern if c not in ("createTags", "startVirtualMachine")] == old
    assert {"createVolume", "createSnapshot", "createTemplate", "destroyVirtualMachine"} <= {*old}
