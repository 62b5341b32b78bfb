"""What the commands share: whatever ends one is one line and an exit status."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from bnsweep import __version__
from bnsweep.cli.messages import one_line, out_of_memory
from bnsweep.cli.quoting import LONG, shortened
from bnsweep.cli.terminal import keep_streams
from bnsweep.config.checks import ConfigError, OwnCodeError, printable
from bnsweep.config.secrets import check_no_secret, without_secrets

MOST = 2000
"""Characters of a line."""


def run_command(name: str, body: Callable[[], None], interrupted: str = "") -> None:
    """Run a command. Exit status 0, 1 for what was refused or failed, 130 when interrupted, after the text
    `interrupted`. With HYDRA_FULL_ERROR set by the user, errors pass through with their tracebacks."""
    full = os.environ.get("HYDRA_FULL_ERROR")
    keep_streams()
    try:
        check_texts(sys.argv[1:])
        check_no_secret(sys.argv[1:])
        if "--version" in sys.argv[1:]:  # Hydra would give its own
            print(f"bnsweep {__version__}")
            return
        body()
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr, end="\n" if interrupted else "")
        raise SystemExit(130) from None
    except Exception as error:
        if full:
            raise
        raise SystemExit(f"{name}: {short_and_printable(said(name, error))}") from None


def said(name: str, error: Exception) -> str:
    """The line for any error; a traceback is kept of those that no user should cause."""
    text = one_line(error, sys.argv[1:])
    if text is not None and not isinstance(error, OwnCodeError):
        return text
    where = keep_traceback(name, error)
    kept = f" (traceback in {where})" if where else ""
    if text is not None:
        return text + kept
    if out_of_memory(error):
        return f"out of memory{kept}; a limit (ulimit -v, a container's) or other programs leave too little"
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part) + kept
    # What a driver says of a URI that came from the environment.
    return f"unexpected {type(error).__name__}: {without_secrets(' '.join(str(error).split())) or 'no text'}{kept}"


def short_and_printable(text: str) -> str:
    """The text with nothing that a terminal obeys, and without the middle of very long values."""
    text = re.sub(rf"\S{{{LONG + 1},}}", lambda found: shortened(found[0]), text)
    return shortened(printable(text), MOST)


def keep_traceback(name: str, error: Exception) -> str:
    """Writes it into the run's log, or into a file of its own; gives its path, or nothing where neither can be."""
    text = without_secrets("".join(traceback.format_exception(error))).encode(errors="backslashreplace")
    logs = [h.baseFilename for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]
    try:
        if logs and Path(logs[0]).exists():
            with Path(logs[0]).open("ab") as log:
                log.write(text)
            return logs[0]
        number, new = tempfile.mkstemp(prefix=f"{name}-", suffix=".log")
        with os.fdopen(number, "wb") as file:
            file.write(text)
    except OSError:
        return ""
    return new


def check_texts(arguments: list[str]) -> None:
    """Refuses arguments, and a working directory, that are no text: they are written again, in files of UTF-8."""
    try:
        here = str(Path.cwd())
    except OSError as error:
        raise ConfigError(f"the working directory must be there ({error.strerror})") from error
    for argument in (*arguments, here):
        if any("\ud800" <= char <= "\udfff" for char in argument):
            encoding = sys.getfilesystemencoding()
            says = f"text in this terminal's encoding, {encoding} (LC_ALL=C.UTF-8 makes it UTF-8)"
            raise ConfigError(f"{argument}: must be {says}")
