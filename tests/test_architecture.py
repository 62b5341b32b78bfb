"""The house rules: who may import whom, what is light to import, how long a file may get, what lies at the top."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NUMERIC = {"numpy", "torch"}


@dataclass(frozen=True)
class Room:
    must_not_know: frozenset[str] = frozenset()
    """Third-party packages and rooms it may not import, not even inside a function."""
    only: frozenset[str] | None = None
    """The only third-party packages that importing it may need; None: any."""


def room(not_: str = "", only: set[str] | None = None) -> Room:
    return Room(frozenset(not_.split()), None if only is None else frozenset(only))


# From the top down: a room, which is a folder or a file below bnsweep/, imports from the rooms above it. Rooms within
# one pair of brackets may import one another. Down to `training` everything runs with torch and numpy alone: a GPU box
# need not have Hydra or MLflow.
FLOORS: list[dict[str, Room]] = [
    {"catalogue": room("torch mlflow", only=set())},
    {"config": room("torch mlflow", only=set())},
    {"records": room("torch numpy mlflow hydra", only=set()), "inference": room("torch numpy", only=set())},
    {"own": room("mlflow hydra omegaconf", only=NUMERIC)},
    {"data": room("mlflow hydra omegaconf", only=NUMERIC)},
    {"kernels": room("data mlflow hydra omegaconf", only={"torch", "triton"})},
    {"nets": room("data mlflow hydra omegaconf", only=NUMERIC)},
    {"probes": room("data mlflow hydra omegaconf", only=NUMERIC)},
    {"training": room("mlflow hydra omegaconf", only=NUMERIC)},
    {"store": room("torch hydra data nets training probes")},
    {"runs": room("hydra")},
    {"hydra_plugins": room("torch mlflow training runs")},
    {"report": room("torch hydra.core training nets data runs hydra_plugins")},
    {"experiments": room("mlflow")},
    {"cli": room("torch mlflow")},
    {"api": room("mlflow")},
    {"ui": room("torch mlflow")},
]
REPORT = ("frame", "stats", "claims", "figures", "pages", "compare")
"""The folders of the report, from the top down: the same rule."""
ROOMS = {name: entry for floor in FLOORS for name, entry in floor.items()}
RANK = {name: i for i, floor in enumerate(FLOORS) for name in floor}


@dataclass(frozen=True)
class Import:
    module: str
    at_import: bool
    """False inside a function, where it happens only when called."""


def sources() -> dict[str, Path]:
    """Dotted name -> file, of everything that ships."""
    paths = [*(ROOT / "bnsweep").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(paths)}


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@cache
def imports(path: Path) -> list[Import]:
    found: list[Import] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module
            # `from bnsweep import data` names the room in its second half.
            found.extend(Import(f"{node.module}.{alias.name}", at_import) for alias in node.names)
        inside = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in [] if is_typing_only(node) else ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def room_of(module: str) -> str | None:
    """The room that a dotted name of ours leads to: `bnsweep.report.frame.grid.levels` -> `report`; entry files, which
    `python -m` runs, are of `cli`."""
    parts = module.split(".")
    if parts[-1] == "__main__":
        return "cli"
    if parts[:2] == ["hydra_plugins", "bnsweep"]:
        return "hydra_plugins"
    return parts[1] if parts[0] == "bnsweep" and len(parts) > 1 and parts[1] != "__version__" else None


def third_party(module: str) -> str | None:
    top, _, _ = module.partition(".")
    return None if top in sys.stdlib_module_names or top in ("bnsweep", "hydra_plugins") else top


def module_of(dotted: str) -> str | None:
    """The module of ours that an imported name lives in: `bnsweep.report.frame.grid.levels` -> its first four parts."""
    while dotted and dotted not in SOURCES and f"{dotted}.__init__" not in SOURCES:
        dotted = dotted.rpartition(".")[0]
    return dotted if dotted in SOURCES else f"{dotted}.__init__" if dotted else None


@cache
def needed_at_import(name: str) -> frozenset[str]:
    """Third-party packages that importing a module of ours pulls in, through others of ours too."""
    seen, todo, packages = {name}, [name], set()
    while todo:
        for item in (item for item in imports(SOURCES[todo.pop()]) if item.at_import):
            packages |= {third_party(item.module)} - {None}
            inner = module_of(item.module)
            if inner and inner not in seen:
                seen.add(inner)
                todo.append(inner)
    return frozenset(packages)


SOURCES = sources()
each_source = pytest.mark.parametrize("name", [name for name in SOURCES if name != "bnsweep.__init__"])


@each_source
def test_a_room_imports_from_the_rooms_above_it(name: str) -> None:
    own = room_of(name)
    assert own in ROOMS, f"{name}: give {own} a place in FLOORS"
    for item in imports(SOURCES[name]):
        other = room_of(item.module)
        if other:
            assert other in ROOMS, f"{name} imports {item.module}, which is no room"
            assert other == own or RANK[other] <= RANK[own], f"{name} imports {item.module}, which runs uphill"


def report_folder(module: str) -> int | None:
    """Place in REPORT of the folder that a dotted name leads to; what lies beside the folders is below them all."""
    parts = module.split(".")
    if parts[:2] != ["bnsweep", "report"]:
        return None
    return REPORT.index(parts[2]) if len(parts) > 3 and parts[2] in REPORT else len(REPORT)


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("bnsweep.report.")])
def test_a_folder_of_the_report_imports_from_the_folders_above_it(name: str) -> None:
    own = report_folder(name)
    for item in imports(SOURCES[name]):
        other = report_folder(item.module)
        assert other is None or own is None or other <= own, f"{name} imports {item.module}, which runs uphill"


def test_the_report_is_nothing_but_its_folders() -> None:
    folders = {name.split(".")[2] for name in SOURCES if name.startswith("bnsweep.report.")}
    assert folders == {*REPORT, "__init__", "__main__"}


@each_source
def test_a_room_does_not_know_what_it_must_not(name: str) -> None:
    entry = ROOMS[room_of(name) or ""]
    for item in imports(SOURCES[name]):
        inner = room_of(item.module)
        for stranger in entry.must_not_know:
            known = inner == stranger or f"{item.module}.".startswith(f"{stranger}.")
            assert not known, f"{name} must not know {stranger}, imports {item.module}"


@each_source
def test_importing_a_module_needs_no_more_than_its_room_says(name: str) -> None:
    entry, needed = ROOMS[room_of(name) or ""], needed_at_import(name)
    assert not needed & entry.must_not_know
    assert entry.only is None or needed <= entry.only


def test_only_one_room_imports_mlflow() -> None:
    users = {
        room_of(name)
        for name, path in SOURCES.items()
        if any(third_party(item.module) == "mlflow" for item in imports(path))
    }
    assert users <= {"store"}


def test_the_contract_is_light_to_import() -> None:
    code = (
        "import sys, bnsweep, bnsweep.config.run, bnsweep.records; print(*{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"hydra", "matplotlib", "mlflow", "numpy", "omegaconf", "pandas", "rich", "sklearn", "torch", "torchvision"}
    assert not heavy & set(run.stdout.split())


def test_nothing_new_lies_at_the_top() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listing.stdout.splitlines()}
    folders = {"bnsweep", "conf", "hydra_plugins", "tests"}
    files = {"pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} <= folders | files


@pytest.mark.parametrize("name", sources())
def test_files_and_functions_stay_short(name: str) -> None:
    text = sources()[name].read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "a file holds one subject, in at most 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, f"{node.name} is longer than 40 lines"
