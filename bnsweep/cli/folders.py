"""The folders of a sweep's jobs, which are made after the training: checked before it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from bnsweep.config.checks import ConfigError, try_folder

JOB_BYTES = 16 * 2**10
"""Of the three files of a job, in blocks of 4 KiB."""

NAMED_BY = "hydra.sweep.dir and hydra.sweep.subdir name it"


def check_job_folders(folders: Sequence[Path], jobs: int) -> None:
    """Refuses (ConfigError) folders that cannot be made, that several jobs would share, or that there is no room for;
    leaves nothing behind. Those are tried that differ most: the first and the last, the one with the longest part, the
    longest."""
    longest = max(folders, key=lambda folder: max((len(part.encode()) for part in folder.parts), default=0))
    deepest = max(folders, key=lambda folder: len(str(folder).encode()))
    for folder in dict.fromkeys((folders[0], folders[-1], longest, deepest)):
        try:
            try_folder(folder)
        except (OSError, ValueError) as error:  # ValueError: a null character
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"{folder}: must be a folder that can be written ({reason}); {NAMED_BY}") from error
    first: dict[Path, int] = {}
    for job, folder in enumerate(folders):
        other = first.setdefault(folder, job)
        if other != job:
            raise ConfigError(f"{folder}: must be of one job, is of jobs {other} and {job}; {NAMED_BY}")
    check_space(folders[0], jobs)


def check_space(folder: Path, jobs: int) -> None:
    """Refuses a disk that is too full for the files of so many jobs."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free, needed = shutil.disk_usage(there).free, jobs * JOB_BYTES
    if free < needed:
        says = f"with room for {jobs} job folders, {needed / 2**20:.1f} MiB; {free / 2**20:.1f} MiB are free there"
        raise ConfigError(f"{folder}: must be on a disk {says}")
