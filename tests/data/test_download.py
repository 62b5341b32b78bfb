"""What is missing is downloaded whole, or the error says which files to put where."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from idx_files import POOL, TEST, TRAIN_IMAGES, tiny, write

from bnsweep.config.checks import ConfigError
from bnsweep.data import dataset as data
from bnsweep.data import download as fetching


def cut(content: bytes) -> bytes:
    return content[:-100]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


TORCHVISION = """
import os, pathlib, socket, sys

def MNIST(root, download):
    print("progress", file=sys.stderr)
    exec(pathlib.Path(os.environ["DOWNLOAD"]).read_text())
"""


@pytest.fixture
def download(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives what stands in for torchvision, which does not import beside a CPU-only torch, its code."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "torchvision").mkdir()
    (folder / "torchvision/__init__.py").touch()
    (folder / "torchvision/datasets.py").write_text(TORCHVISION)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("DOWNLOAD", str(folder / "code.py"))
    return lambda code: (folder / "code.py").write_text(code) and None


def copied(folder: Path) -> str:
    return f"import shutil; shutil.copytree({str(folder)!r}, pathlib.Path(root, 'MNIST/raw'))"


def test_only_missing_files_are_downloaded_with_a_limit_and_without_noise(
    raw: Path,
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    download: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    published = tmp_path_factory.mktemp("published")
    write(published, files)
    download(f"assert socket.getdefaulttimeout() == {fetching.TIMEOUT_S}\n{copied(published)}")
    write(raw, {name: files[name] for name in files if name != TRAIN_IMAGES}, packed=False)
    before = socket.getdefaulttimeout()
    assert len(data.load(tiny(raw.parents[1])).y_N) == POOL + TEST
    assert socket.getdefaulttimeout() == before
    assert sorted(p.name for p in raw.iterdir()) == sorted({*files, f"{TRAIN_IMAGES}.gz"} - {TRAIN_IMAGES})
    assert sorted(p.name for p in raw.parents[1].iterdir()) == ["MNIST"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(cut, r"must hold 3216 bytes, holds 3116"), (flip, r"must have the sha256 \w{64}, has \w{64}")],
    ids=["spoiled", "another"],
)
def test_a_download_that_is_not_what_was_published_is_refused(
    tmp_path: Path,
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    download: Callable[[str], None],
    spoil: Callable[[bytes], bytes],
    why: str,
) -> None:
    published = tmp_path_factory.mktemp("published")
    write(published, files | {TRAIN_IMAGES: spoil(files[TRAIN_IMAGES])})
    download(copied(published))
    with pytest.raises(ConfigError, match=rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, "):
        data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


FAILURES = {
    'raise OSError("network is unreachable")': "OSError: network is unreachable",
    "with socket.create_connection(('127.0.0.1', PORT)) as s: s.recv(1)": "TimeoutError: timed out",
    'raise ImportError("no torchvision")': "ImportError: no torchvision",
    "os._exit(3)": "progress",
}


@pytest.mark.parametrize(("code", "why"), FAILURES.items(), ids=["network", "still", "import", "killed"])
def test_a_failed_download_says_which_files_to_put_where_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: Callable[[str], None], code: str, why: str
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never answers
        half = "pathlib.Path(root, 'half-written').write_bytes(b'...')"
        download(f"{half}\n{code}".replace("PORT", str(silent.getsockname()[1])))
        says = rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, .* into .*raw, or .* data.root$"
        with pytest.raises(ConfigError, match=says):
            data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: must be a writable folder to download .* \(Not a directory\)"):
        data.load(tiny(tmp_path / "file"))


ENDINGS = {
    "os.kill(os.getpid(), 9)": "its process was ended by signal 9, Killed",
    "import time; time.sleep(60)": "nothing arrived for 0.3 s",
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1/')": r"urllib.error.URLError: <urlopen error .*>",
    "import resource; resource.setrlimit(1, (9, 9)); pathlib.Path(root, 'x').write_bytes(bytes(99))": (
        r"OSError: \[Errno 27\] File too large"
    ),
    "raise ValueError('x' * 1000)": "ValueError: x{288}",
    "sys.stdout.write('x' * 100_000); sys.exit('no more')": "no more",
}


@pytest.mark.parametrize(
    ("code", "why"), ENDINGS.items(), ids=["killed", "hangs", "proxy", "disk full", "long", "talks"]
)
def test_however_the_process_ends_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: Callable[[str], None], code: str, why: str
) -> None:
    monkeypatch.setattr(fetching, "STILL_S", 0.3 if "sleep" in code else 60)
    monkeypatch.setenv("http_proxy", "http://nonsense.invalid:1")
    monkeypatch.delenv("no_proxy", raising=False)
    download(f"pathlib.Path(root, 'half-written').write_bytes(b'...')\n{code}")
    says = rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, .* into .*raw, or .* data.root$"
    with pytest.raises(ConfigError, match=says):
        data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


def test_a_download_ends_with_the_process_that_wants_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, download: Callable[[str], None]
) -> None:
    sign = tmp_path_factory.mktemp("sign") / "pid"
    download(f"pathlib.Path({str(sign)!r}).write_text(str(os.getpid()))\nimport time\ntime.sleep(60)")
    call = "import sys, pathlib; from bnsweep.data.download import fetch; fetch('mnist', pathlib.Path(sys.argv[1]))"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", call, str(scratch)])
    wait_until(lambda: sign.exists() and sign.read_text() != "")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not scratch.exists())
    wait_until(lambda: not is_running(int(sign.read_text())))


def wait_until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_root_that_is_a_file_or_holds_a_file_for_a_folder_is_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "root").mkdir()
    for file in (tmp_path / "root/MNIST", tmp_path / "file"):
        file.touch()
        with pytest.raises(ConfigError, match=rf"^{file}: must be a writable folder to .* \(Not a directory\); choose"):
            data.load(tiny(tmp_path / file.relative_to(tmp_path).parts[0]))
    assert (tmp_path / "root/MNIST").read_bytes() == b""
