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
    files: tuple[str, ...]
    """Modules below bnsweep/, or a package's name."""
    must_not_know: frozenset[str] = frozenset()
    """Third-party packages and rooms it may not import, not even inside a function."""
    only: frozenset[str] | None = None
    """The only third-party packages that importing it may need; None: any."""


def room(*files: str, not_: str = "", only: set[str] | None = None) -> Room:
    return Room(files, frozenset(not_.split()), None if only is None else frozenset(only))


# From the top down: a room imports from the rooms above it.
# Down to `train` everything runs with torch and numpy alone: a GPU box need not have Hydra or MLflow.
ROOMS = {
    "config": room(*("checks", "datasets", "groups", "config", "identity", "schema"), not_="torch mlflow", only=set()),
    "records": room("records", "tolerance", not_="torch numpy mlflow hydra", only=set()),
    "data": room("data", "idx", not_="mlflow hydra omegaconf", only=NUMERIC),
    "model": room("model", "meanfield", not_="mlflow hydra omegaconf", only=NUMERIC),
    "stack": room(
        "stack", "dropout", "segment", "passes", "optim", "loss", not_="data mlflow hydra omegaconf", only=NUMERIC
    ),
    "probes": room("probes", not_="stack mlflow hydra omegaconf", only=NUMERIC),
    "train": room("train", "batches", "diagnostics", "graph", "summary", not_="mlflow hydra omegaconf", only=NUMERIC),
    "tracking": room(
        *("tracking", "environment", "frame", "mlflow_backend", "mlflow_client", "mlflow_connect"),
        *("mlflow_encode", "mlflow_sqlite", "mlflow_view"),
        not_="torch hydra data model stack probes train",
    ),
    "sweep": room("sweep", "interrupt", "outcome", "memory", "plan", "progress", "workers", not_="hydra"),
    "hydra_plugins": room("hydra_plugins", not_="torch mlflow train sweep"),
    "report": room("report", not_="torch hydra.core train stack model data sweep hydra_plugins"),
    "main": room("__main__", "complaints", not_="torch mlflow"),
    "experiments": room("experiments", not_="mlflow"),
}
ROOM_OF = {name: title for title, entry in ROOMS.items() for name in entry.files}
RANK = {title: i for i, title in enumerate(ROOMS)}


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


def part_of_ours(module: str) -> str | None:
    """The file or package that a dotted name of ours leads to: `bnsweep.report.grid.levels` -> `report`."""
    parts = module.split(".")
    if parts[:2] == ["hydra_plugins", "bnsweep"]:
        return "hydra_plugins"
    return parts[1] if parts[0] == "bnsweep" and len(parts) > 1 and parts[1] != "__version__" else None


def third_party(module: str) -> str | None:
    top, _, _ = module.partition(".")
    return None if top in sys.stdlib_module_names or top in ("bnsweep", "hydra_plugins") else top


@cache
def needed_at_import(name: str) -> frozenset[str]:
    """Third-party packages that importing a file or package of ours pulls in, through others of ours too."""
    seen, todo, packages = {name}, [name], set()
    while todo:
        part = todo.pop()
        for path in [path for dotted, path in sources().items() if part_of_ours(dotted) == part]:
            for item in (item for item in imports(path) if item.at_import):
                packages |= {third_party(item.module)} - {None}
                inner = part_of_ours(item.module)
                if inner and inner not in seen:
                    seen.add(inner)
                    todo.append(inner)
    return frozenset(packages)


SOURCES = {name: path for name, path in sources().items() if part_of_ours(name) in ROOM_OF}
each_source = pytest.mark.parametrize("name", SOURCES)


def test_every_file_has_a_room() -> None:
    assert sources().keys() - SOURCES.keys() <= {"bnsweep.__init__"}, "give it a room in ROOMS"


@each_source
def test_a_room_imports_from_the_rooms_above_it(name: str) -> None:
    own = ROOM_OF.get(part_of_ours(name) or "")
    for item in imports(SOURCES[name]):
        part = part_of_ours(item.module)
        if own and part:
            assert part in ROOM_OF, f"{name} imports {item.module}, which is no room"
            assert RANK[ROOM_OF[part]] <= RANK[own], f"{name} ({own}) imports {item.module}, which runs uphill"


@each_source
def test_a_room_does_not_know_what_it_must_not(name: str) -> None:
    entry = ROOMS[ROOM_OF[part_of_ours(name) or ""]]
    for item in imports(SOURCES[name]):
        inner = ROOM_OF.get(part_of_ours(item.module) or "")
        for stranger in entry.must_not_know:
            known = inner == stranger or f"{item.module}.".startswith(f"{stranger}.")
            assert not known, f"{name} must not know {stranger}, imports {item.module}"


@pytest.mark.parametrize("name", ROOM_OF)
def test_importing_a_room_needs_no_more_than_it_says(name: str) -> None:
    entry, needed = ROOMS[ROOM_OF[name]], needed_at_import(name)
    assert not needed & entry.must_not_know
    assert entry.only is None or needed <= entry.only


def test_only_one_room_imports_mlflow() -> None:
    users = {
        ROOM_OF[part_of_ours(name) or ""]
        for name, path in SOURCES.items()
        if any(third_party(item.module) == "mlflow" for item in imports(path))
    }
    assert users <= {"tracking"}


def test_the_contract_is_light_to_import() -> None:
    code = "import sys, bnsweep, bnsweep.config, bnsweep.records; print(*{name.split('.')[0] for name in sys.modules})"
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
    assert text.count("\n") <= 250, "a file holds one concept, in at most 250 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, f"{node.name} is longer than 40 lines"
