"""A new database of a copy. MLflow takes seconds to import and to make its tables; what it has made for one folder is
kept, among the files of this user that can be made again, for the next one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from bnsweep.store.encode import milliseconds
from bnsweep.store.sqlite import has_known_tables, insert, opened


def kept_file() -> Path:
    """Where it is, if it is: of the versions installed. Raises RuntimeError for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    versions = "-".join(f"{name}-{version(name)}" for name in ("mlflow", "alembic", "sqlalchemy"))
    return Path(base, "bnsweep", f"{versions}.db")


def is_kept() -> bool:
    try:
        return os.access(kept_file(), os.R_OK)
    except RuntimeError:
        return False


def keep(made: Path) -> None:
    """A copy of a database in which MLflow has made its tables and nobody anything. Where there is no room for it, the
    next one is made as this one was."""
    with suppress(OSError, RuntimeError):
        file = kept_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            shutil.copyfile(made, draft)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


def forget() -> None:
    """The copy, which is damaged."""
    with suppress(OSError):
        kept_file().unlink()


def fill(path: Path, experiment: str, artifacts: str) -> None:
    """Makes a database of the copy, as MLflow would in this working directory, with an experiment whose artifacts lie
    at a URI. Raises sqlite3.Error where the copy is damaged."""
    shutil.copyfile(kept_file(), path)
    with opened(path) as db:
        if db.execute("pragma quick_check").fetchone() != ("ok",) or not has_known_tables(db):
            raise sqlite3.DatabaseError(f"{kept_file()} is damaged")
        now = milliseconds()
        db.execute("begin")
        change = "update experiments set artifact_location = ?, creation_time = ?, last_update_time = ?"
        db.execute(change, [str(Path.cwd() / "mlruns/0"), now, now])
        insert(db, "experiments", [(None, experiment, artifacts, "active", now, now, "default")])
        db.execute("commit")
