"""The rooms of lib: imports run one way, and through the doors."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Each room may import the rooms named, and `ground`: modules that import nothing else of lib.
GROUND = {"lib.errors", "lib.waiting", "lib.checks"}
MAY_IMPORT = {
    "record": "",
    "profiles": "record",
    "api": "record profiles",
    "lib": "record profiles api",
    "resources": "lib record api",
    "survey": "lib record api resources",
    "workstation": "lib record",
    "config": "lib record api resources workstation",
    "install": "lib record resources workstation config",
    "cluster": "lib record api resources survey workstation config install",
    "report": "record",
    "chain": "record report",
    "lab": "lib record report chain profiles api",
    "commands": "lib record report chain profiles lab localcloud survey",
    "fleet": "",
    "localcloud.state": "",
    "localcloud.workstation": "localcloud.state",
    "localcloud.guests": "localcloud.state localcloud.workstation",
    "localcloud.commands": "localcloud.state localcloud.workstation localcloud.guests",
    "localcloud.wire": "localcloud.state localcloud.workstation localcloud.guests "
    "localcloud.commands",
    "localcloud": "localcloud.state localcloud.wire",
}
MOST_PARAMETERS = 6
# The command line starts what is asked for; notebooks find the words of `lib` by name.
FREE = ("lib.__main__", "lib")


def _modules() -> dict[str, Path]:
    names = {}
    for path in (ROOT / "lib").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        names[name.removesuffix(".__init__")] = path
    return names


MODULES = _modules()


def _imports(name: str) -> set[str]:
    """Return the modules of lib that a module imports, wherever in its text."""
    path, found = MODULES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name in MODULES}
        if isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(up if node.level else []), *filter(None, [node.module])])
            inner = {f"{base}.{a.name}" for a in node.names}
            found |= {m for m in inner if m in MODULES} or ({base} & MODULES.keys())
    return found - {name}


def _room(name: str) -> str:
    """Return the room of a module: its folder below lib, "lib" for what lies in lib itself."""
    path = MODULES[name]
    folder = path.parent.relative_to(ROOT / "lib")
    return ".".join(folder.parts) or "lib"


def _inside(name: str) -> list[str]:
    return [n for n in sorted(MODULES) if _room(n) == name]


def test_every_room_is_known():
    assert {_room(n) for n in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room):
    allowed = {room, *MAY_IMPORT[room].split()}
    wrong = [
        f"{name} imports {other}"
        for name in _inside(room)
        if name not in FREE
        for other in _imports(name)
        if _room(other) not in allowed and other not in GROUND
    ]
    assert wrong == []


def test_the_ground_imports_nothing_else_of_lib():
    assert [name for name in GROUND if not _imports(name) <= GROUND] == []


def test_rooms_are_entered_by_their_doors():
    wrong = []
    for name in MODULES:
        for other in _imports(name):
            room, _, module = other.rpartition(".")
            if room not in MODULES or _room(name) == _room(other) or room == "lib":
                continue
            door = ast.parse(MODULES[room].read_text("utf-8"))
            lists = [n.value for n in door.body if isinstance(n, ast.Assign)]
            names = [ast.literal_eval(v) for v in lists if isinstance(v, ast.List)]
            if names and module not in names[0]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_there_are_eight_floors():
    floors: dict[str, int] = {}

    def floor(room: str) -> int:
        below = [r for r in MAY_IMPORT[room].split() if "." not in r]
        return floors.setdefault(room, 1 + max(map(floor, below), default=0))

    assert max(map(floor, [r for r in MAY_IMPORT if "." not in r])) <= 8


def test_no_modules_import_each_other():
    left = {n: _imports(n) for n in MODULES}
    while ready := [n for n, imports in left.items() if not imports & left.keys()]:
        for name in ready:
            del left[name]
    assert sorted(left) == []


def _parameters(function: ast.FunctionDef) -> int:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return len([a for a in given if a.arg not in ("self", "cls")])


def test_no_function_takes_more_than_six_parameters():
    found = {
        f"{name}.{node.name}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and _parameters(node) > MOST_PARAMETERS
    }
    assert found == set()


def test_no_module_is_longer_than_300_lines():
    long = {n: p.read_text("utf-8").count("\n") for n, p in MODULES.items()}
    assert {n: count for n, count in long.items() if count > 300} == {}


def test_what_is_installed_holds_every_file_of_lib(tmp_path):
    """An editable install, as requirements.txt makes it, would hide a file that is forgotten."""
    pytest.importorskip("setuptools", reason="a new environment of Python 3.12 or newer has none")
    source, built = tmp_path / "source", tmp_path / "built"
    shutil.copytree(ROOT / "lib", source / "lib")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import setup; setup()"
    subprocess.run(
        [sys.executable, "-c", build, "-q", "build_py", "-d", built], cwd=source, check=True
    )

    def files(folder: Path) -> set[str]:
        found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")
        return {p.relative_to(folder).as_posix() for p in found}

    assert files(built / "lib") == files(source / "lib")
