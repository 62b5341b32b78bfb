"""MNIST's and Fashion-MNIST's files, fetched by torchvision, which knows where they are published.

A process of its own fetches them: the limits on its waiting are of a whole process, it fills the terminal, and it may
hang or be killed. What it fetches is verified and then moved into place, whole files only.
"""

from __future__ import annotations

import logging
import os
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

MOST_SAID = 300
"""Letters quoted of an error."""

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
    far_end, near_end = os.pipe()  # closes with this process
    process = subprocess.Popen(command, stdin=far_end, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        said = wait(process, root).decode(errors="replace").strip().splitlines()
    finally:
        process.kill()
        process.communicate()
        os.close(far_end)
        os.close(near_end)
    if process.returncode < 0:
        raise OSError(f"its process was ended by signal {-process.returncode}, {signal.strsignal(-process.returncode)}")
    if process.returncode:
        raise OSError(said[-1].strip()[:MOST_SAID] if said else f"exit status {process.returncode}")


def wait(process: subprocess.Popen[bytes], root: Path) -> bytes:
    """What it said until its end. Raises OSError where nothing arrives in `root` any more."""
    held, since = -1, time.monotonic()
    while True:
        try:
            return process.communicate(timeout=min(1.0, STILL_S / 10))[1]
        except subprocess.TimeoutExpired:
            now = sum(path.lstat().st_size for path in root.rglob("*"))
            if now != held:
                held, since = now, time.monotonic()
            elif time.monotonic() - since > STILL_S:
                raise OSError(f"nothing arrived for {STILL_S:g} s") from None
