"""Write the lock: `make lock`.

Five files of names, versions and hashes, each installed with `--require-hashes --no-deps`: build.txt (what builds
packages that ship as source), main.txt (all else), cuda.txt (several GB that only a CUDA build of torch wants),
triton.txt (which such a build wants, and `make kernels`) and bench.txt (what only `make bench` wants).
uv comes from the registry into a folder that is gone afterwards.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent
OLDEST_PYTHON = "3.11"
CUDA = ("cuda-", "nvidia-")
TRITON = ("triton==",)
BENCH = ("jax==", "jaxlib==", "ml-dtypes==", "opt-einsum==")


def compiled(uv: Path, *arguments: str) -> list[str]:
    """uv's resolution for every platform, as one text block a package."""
    options = f"--universal --python-version {OLDEST_PYTHON} --generate-hashes --no-header --no-annotate --quiet"
    command = [str(uv), "pip", "compile", *options.split(), *arguments]
    text = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"^\S.*(?:\n[ \t].*)*", text, re.MULTILINE)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        tools = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin")
        subprocess.run([tools / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
        pins, build = ".lock/pins.in", ".lock/build.in"
        whole = compiled(tools / "uv", "pyproject.toml", build, "--all-extras", "--constraint", pins)
        resolved = Path(folder) / "all.txt"
        resolved.write_text("\n".join(whole), encoding="utf-8")
        first = compiled(tools / "uv", build, "--constraint", str(resolved))
    cuda = [block for block in whole if block.startswith(CUDA)]
    triton = [block for block in whole if block.startswith(TRITON)]
    bench = [block for block in whole if block.startswith(BENCH)]
    rest = [block for block in whole if block not in (*cuda, *triton, *bench, *first)]
    for name, blocks in {"build": first, "main": rest, "cuda": cuda, "triton": triton, "bench": bench}.items():
        (HERE / f"{name}.txt").write_text("\n".join(blocks) + "\n", encoding="utf-8")
        print(f".lock/{name}.txt: {len(blocks)} packages")


if __name__ == "__main__":
    main()
