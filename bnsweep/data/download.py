"""MNIST's and Fashion-MNIST's files, fetched by torchvision, which knows where they are published.

A process of its own fetches them: the limits on its waiting are of a whole process, it fills the terminal, and it may
hang or be killed. What it fetches is verified and then moved into place, whole files only.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.idx import FOLDERS, Spoiled, array_of

log = logging.getLogger(__name__)

NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
"""In torchvision."""

TIMEOUT_S = 30.0
"""Seconds a connection may stand still; torchvision itself sets no limit."""

STILL_S = 300.0
"""Seconds without a new byte after which the process is ended: several servers may stand still one after the other."""

SAID = "said"
"""The file that the process's messages go to."""

FETCH = """
import os, shutil, socket, sys, threading
name, root, timeout = sys.argv[1:]
def follow_parent():
    os.read(0, 1)  # ends with the process at the other end of the pipe
    shutil.rmtree(root, ignore_errors=True)
    os._exit(1)
threading.Thread(target=follow_parent, daemon=True).start()
socket.setdefaulttimeout(float(timeout))
from torchvision import datasets
getattr(datasets, name)(root, download=True)
"""


def download(config: DataConfig, folder: Path, missing: list[str]) -> None:
    """Put the missing files into `folder` as .gz, through a temporary folder on the same disk: nothing half-written is
    ever seen there, and nothing is left where it fails. Raises ConfigError."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=nearest))
    except OSError as error:
        says = f"{nearest}: must be a writable folder to download {config.name} into ({error.strerror})"
        raise ConfigError(f"{says}; choose another with data.root") from None
    try:
        log.info("downloading %s into %s", ", ".join(missing), folder)
        fetch(config.name, scratch)
        fetched = {name: scratch / FOLDERS[config.name] / f"{name}.gz" for name in missing}
        for name, path in fetched.items():
            array_of(config, name, path)
        folder.mkdir(parents=True, exist_ok=True)
        for path in fetched.values():
            path.replace(folder / path.name)
    except (OSError, Spoiled) as error:
        needed = ", ".join(f"{name}.gz" for name in missing)
        says = f"data.name={config.name}: could not be downloaded ({error}); put {needed} into {folder}"
        raise ConfigError(f"{says}, or name the folder above {FOLDERS[config.name]} with data.root") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(dataset: str, root: Path) -> None:
    """Raises OSError with the last line of what went wrong. Beside a CPU-only torch torchvision cannot be imported:
    "operator torchvision::nms does not exist"."""
    command = [sys.executable, "-c", FETCH, NAMES[dataset], str(root), str(TIMEOUT_S)]
    with (root / SAID).open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
    try:
        status = wait(process, root)
    finally:
        process.kill()
        process.communicate()
    if status < 0:
        raise OSError(f"its process was ended by signal {-status}, {signal.strsignal(-status)}")
    if status:
        raise OSError(last_line(root / SAID) or f"exit status {status}")


def wait(process: subprocess.Popen[bytes], root: Path) -> int:
    """The exit status. Raises OSError where nothing arrives in `root` any more."""
    held, since = -1, time.monotonic()
    while True:
        try:
            return process.wait(min(1.0, STILL_S / 10))
        except subprocess.TimeoutExpired:
            now = sum(path.lstat().st_size for path in root.rglob("*"))
            if now != held:
                held, since = now, time.monotonic()
            elif time.monotonic() - since > STILL_S:
                raise OSError(f"nothing arrived for {STILL_S:g} s") from None


def last_line(file: Path, most: int = 300) -> str:
    """The end of what was said, empty where that is nothing."""
    with file.open("rb") as said:
        said.seek(max(0, file.stat().st_size - 10_000))
        lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:most] if lines else ""
