"""Install the lock and the project: `.venv/bin/python .lock/install.py`, into the environment of that Python.

`.lock/install.py bench` adds what only the benchmarks want, `.lock/install.py triton` what runs kernels without a GPU.

Nothing is installed that the lock does not name by hash; what builds source packages is in the lock too.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

PROJECT = Path(__file__).parent.parent
# Twice quiet: errors only. No dependencies, because the lock names all of them.
PIP = [sys.executable, *"-m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation".split()]


def installed(*arguments: str, quiet: bool = False) -> bool:
    return subprocess.run([*PIP, *arguments], cwd=PROJECT, check=False, capture_output=quiet).returncode == 0


def install_lock(name: str) -> None:
    hint = {"main": " (about 1 GB: a minute or more)", "cuda": " (several GB: minutes)", "triton": " (0.2 GB)"}.get(
        name, ""
    )
    print(f"installing .lock/{name}.txt{hint}", flush=True)
    if not installed("--require-hashes", "--requirement", f".lock/{name}.txt"):
        sys.exit(f"error: pip could not install .lock/{name}.txt: mend what it says above and run make again")


def torch_wants_cuda() -> bool:
    """A CPU-only build of torch names no CUDA package among its dependencies."""
    return any(text.startswith(("cuda-", "nvidia-")) for text in requires("torch") or [])


def main() -> None:
    if sys.prefix == sys.base_prefix:
        sys.exit("error: run this with the Python of a virtual environment, such as .venv/bin/python")
    if sys.argv[1:] in (["bench"], ["triton"]):
        install_lock(sys.argv[1])
        return
    install_lock("build")
    # pip would take the registry's CUDA build before a CPU-only one from elsewhere; most machines have none to offer.
    installed("--require-hashes", "--requirement", ".lock/cpu.txt", quiet=True)
    install_lock("main")
    if torch_wants_cuda():
        install_lock("triton")
        install_lock("cuda")
    if not installed("--editable", "."):
        sys.exit("error: pip could not install this project: mend what it says above and run make again")


if __name__ == "__main__":
    main()
