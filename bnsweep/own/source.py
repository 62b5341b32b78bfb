"""The text of the user's code, which tells one run from another: of a module and of all that it imports, as far as
these are the user's. What is installed counts by its name alone."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


@cache
def digest_of(dotted: str) -> str | None:
    """16 hex digits of the text behind `module:function`, as it was when this process first asked, since a module is
    imported once; None where it is installed."""
    return digest_now(dotted)


def digest_now(dotted: str) -> str | None:
    """That of the text as it is now."""
    files = files_of(dotted)
    if not files:
        return None
    digest = hashlib.sha256()
    for module, file in sorted(files.items()):
        text = file.read_bytes()
        digest.update(f"{module} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]


def files_of(dotted: str) -> dict[str, Path]:
    """Module -> file, of what the user wrote."""
    files: dict[str, Path] = {}
    todo = [dotted.partition(":")[0]]
    while todo:
        for module, spec in specs_of(todo.pop()):
            file = Path(spec.origin) if spec.origin else None
            if module not in files and file is not None and is_users(file):
                files[module] = file
                todo += imported_by(file.read_bytes(), module, is_package=file.name == "__init__.py")
    return files


def roots_of(dotted: str) -> list[Path]:
    """The files and folders that lie where Python looks for modules: all that has to be there to import it again."""
    roots = {module: file for module, file in files_of(dotted).items() if "." not in module}
    return [file.parent if file.name == "__init__.py" else file for file in roots.values()]


def specs_of(name: str) -> Iterator[tuple[str, ModuleSpec]]:
    """Where a module and the packages around it are, none of which is imported for that."""
    path: Sequence[str] | None = [str(Path.cwd()), *sys.path]
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        module = ".".join(parts[:i])
        spec = PathFinder.find_spec(module, path)
        if spec is None:
            return
        yield module, spec
        path = spec.submodule_search_locations
        if path is None:
            return


@cache
def installed() -> tuple[Path, ...]:
    """Folders of Python's own modules and of packages."""
    paths = sysconfig.get_paths()
    return tuple(Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_users(file: Path) -> bool:
    """Whether a module lies outside of what is installed: this package does not count as the user's either."""
    file, ours = file.resolve(), Path(__file__).resolve().parents[1]
    packaged = {"site-packages", "dist-packages"} & {*file.parts}
    return file.exists() and not packaged and not any(folder in file.parents for folder in (*installed(), ours))


def imported_by(text: bytes, module: str, is_package: bool) -> list[str]:
    """Names that may be modules, in the import statements of a module's text; none of what is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return []
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) + is_package - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found
