"""The sqlite file of an MLflow store: what it must be, how it is made in one step, and what a move of it means."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bnsweep.config.checks import ConfigError, check_folder
from bnsweep.store.address import ARTIFACTS, Address
from bnsweep.store.backend import local_path
from bnsweep.store.sqlite import opened

INITIAL = frozenset(("experiments", "runs", "tags", "metrics", "params"))
"""The tables that MLflow makes before it notes its version."""
FROM_THE_START = {"alembic_version": "true", "workspaces": "name = 'default'", "experiments": "experiment_id = 0"}
"""Rows that MLflow writes by itself, as conditions by table; every other row is somebody's."""
JOURNALS = ("-journal", "-wal", "-shm")
FILES = ("", *JOURNALS)
"""What sqlite keeps beside a file, and with it, by the ends of their names."""


def check_database(path: Path, address: Address, create: bool) -> None:
    """Raises ConfigError for a file that is no database of MLflow's, or that cannot be written where `create` says that
    it has to be. A missing one is to be made then; without `create` that is a ConfigError too."""
    with address.refused("a readable sqlite database", OSError, sqlite3.Error):
        if path.exists():
            found = tables(path, address)
            known = "alembic_version" in found or found <= INITIAL
            address.check(known, "a database of MLflow; this one holds other tables")
            address.check(create or "experiments" in found, "a database with runs; this one has none")
            writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
            address.check(writable or not create, "a database in a folder that can be written")
            return
        address.check(create, "an existing database here; there is none (a sweep writes it)")
        try:
            check_folder("", path.parent)
        except ConfigError as error:
            raise address.error("in a folder that can be made and written") from error


def tables(path: Path, address: Address) -> set[str]:
    """Table names of a sqlite file; one that is no database is a ConfigError, and is left as it is."""
    says = "a sqlite database; this file is something else"
    address.check(path.is_file(), says)
    with path.open("rb") as file:
        address.check(file.read(16) in (b"", b"SQLite format 3\0"), says)
    with opened(path) as db:
        return {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}


def is_half_made(path: Path, address: Address) -> bool:
    """Whether the making of a database was cut short: its tables are not the newest, and nobody has a row in them.

    Raises ConfigError for one that is not MLflow's, or a newer MLflow's. Needs MLflow imported.
    """
    import mlflow.store.db.base_sql_model as model
    from alembic.script import ScriptDirectory

    migrations = ScriptDirectory(str(Path(model.__file__).parents[1] / "db_migrations"))
    known = INITIAL | set(model.Base.metadata.tables) | {"alembic_version"}
    found = tables(path, address)
    strange = {name for name in found - known if not name.startswith("_alembic_tmp_")}
    address.check(not strange, "a database of MLflow; this one holds other tables")
    with opened(path) as db:
        noted = [version for (version,) in db.execute("select * from alembic_version")] if found - INITIAL else []
        ours = {revision.revision for revision in migrations.walk_revisions()}
        address.check(ours.issuperset(noted), f"a database of the MLflow installed here or of an older one ({noted})")
        return noted != migrations.get_heads() and not any(has_rows(db, table) for table in found)


def has_rows(db: sqlite3.Connection, table: str) -> bool:
    """Whether a table holds more than MLflow puts there by itself."""
    query = f'select 1 from "{table}" where not ({FROM_THE_START.get(table, "false")}) limit 1'  # noqa: S608
    return db.execute(query).fetchone() is not None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The making of a database, by one process at a time. What fails before there is one leaves no folder and no lock
    file behind."""
    from filelock import FileLock

    new = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{path}.lock")
    try:
        with FileLock(lock):
            try:
                yield
            finally:
                if not path.exists():
                    lock.unlink(missing_ok=True)
    finally:
        for folder in new:
            with suppress(OSError):  # which is not empty
                folder.rmdir()


def make_database(path: Path, fill: Callable[[Path], None]) -> None:
    """Makes a database in one step, whatever may end this process: `fill` makes it under another name.

    Call it under `locked`. What stands at `path`, an empty or half-made one, is replaced.
    """
    draft = path.with_name(f".{path.name}.making")
    try:
        remove(draft, *FILES)  # of a process that was killed
        fill(draft)
        remove(path, *JOURNALS)
        draft.replace(path)
    finally:
        remove(draft, *FILES)


def remove(path: Path, *ends: str) -> None:
    """Deletes the files whose names are that of `path` with these ends."""
    for end in ends:
        Path(f"{path}{end}").unlink(missing_ok=True)


def settle(path: Path, experiment: str, address: Address) -> None:
    """Tries a write, and writes the artifacts' new place into a database that was copied or moved with them.

    Raises ConfigError for one that cannot be written, and for one whose artifacts lie elsewhere and are not its own.
    """
    with address.refused("a database that can be written", OSError, sqlite3.Error), opened(path) as db:
        db.execute("begin immediate")
        here = path.parent / ARTIFACTS
        experiments = db.execute("select name, artifact_location from experiments").fetchall()
        for name, old in [e for e in experiments if has_moved(db, e[1], path, address if e[0] == experiment else None)]:
            new, length = here.as_uri(), len(old)
            db.execute("update experiments set artifact_location = ? where name = ?", [new, name])
            change = "set artifact_uri = ? || substr(artifact_uri, ?) where substr(artifact_uri, 1, ?) = ?"
            db.execute(f"update runs {change}", [new, length + 1, length + 1, f"{old}/"])
        (version,) = db.execute("pragma user_version").fetchone()
        db.execute(f"pragma user_version = {version}")
        db.execute("commit")


def has_moved(db: sqlite3.Connection, location: str, path: Path, address: Address | None) -> bool:
    """Whether artifacts that were kept at `location`, beside the database, are or will be beside it at `path`.

    Raises the ConfigError of `address`, if given, where they should be here and are not.
    """
    stored, here = local_path(location or "remote:"), path.parent / ARTIFACTS
    if stored is None or stored.name != here.name or stored == here:
        return False
    query = "select run_uuid from runs where substr(artifact_uri, 1, ?) = ? order by start_time desc limit 20"
    runs = [run for (run,) in db.execute(query, [len(location) + 1, f"{location}/"])]
    if any((here / run).is_dir() for run in runs):
        return not (stored.is_dir() and stored.samefile(here))
    original = stored.parent / path.name
    is_copy = original.is_file() and not original.samefile(path)
    if stored.is_dir() and not is_copy:
        return False  # as somebody arranged it
    if address is not None:
        address.check(not runs, f"beside its artifacts: {stored} must lie in {here.parent} too")
    return not runs
