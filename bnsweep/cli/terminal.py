"""Standard output and error that hold up no sweep: closed, full, left by their readers, or in a narrow encoding."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LETTERS = {
    "×": "x", "·": "-", "−": "-", "–": "-", "—": "-", "…": "...", "≥": ">=", "≤": "<=", "≈": "~", "→": "->", "±": "+-",
    "✓": "+", "✗": "x", "τ": "tau", "σ": "sigma", "ω": "omega", "π": "pi", "∞": "inf", "↑": "^", "↓": "v", "‑": "-",
    "“": '"', "”": '"', "‘": "'", "’": "'", "█": "#", "━": "-", "╸": "-", "╺": "-",
}  # fmt: skip
"""What stands for a character where the encoding has none."""


class Lasting(io.RawIOBase):
    """A standard stream that never fails: once nobody takes what is written, it goes nowhere."""

    def __init__(self, name: str, number: int) -> None:
        """`number`: its file descriptor."""
        self.name = f"<{name}>"
        self.lost = False
        """Whether anything went nowhere."""
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        while True:
            try:
                return os.write(self._number, data)
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError:
                self.lost = True
                # Whatever else writes there, a worker or a library, is to meet no error either.
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, self._number)
                os.close(nowhere)
                return memoryview(data).nbytes


def keep_streams() -> None:
    """Put such streams in the place of the process's own; one that something else has replaced, a notebook say, stays.
    A character that their encoding lacks is written with those that it has."""
    codecs.register_error("bnsweep.letters", in_its_letters)
    open_closed()
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper | None):
            continue
        if stream is not None:
            with suppress(OSError):
                stream.flush()
        text = io.TextIOWrapper(
            io.BufferedWriter(Lasting(name, number)),
            encoding=stream.encoding if stream else "utf-8",
            errors="bnsweep.letters",
            line_buffering=stream.line_buffering if stream else False,
            write_through=stream.write_through if stream else False,
        )
        setattr(sys, name, text)


def open_closed() -> None:
    """Opens each standard stream that is closed (`>&-`) on nothing: the next file to be opened, a database say, would
    be taken for it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def prints_itself() -> bool:
    """Whether what this process prints goes where another one's output would, which it starts."""
    return kept_stdout() is not None


def output_lost() -> bool:
    """Whether something written to standard output went nowhere; flushes it first."""
    sys.stdout.flush()
    kept = kept_stdout()
    return kept is not None and kept.lost


def kept_stdout() -> Lasting | None:
    """What `keep_streams` put under standard output, if anything."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, Lasting) else None


def in_its_letters(error: UnicodeError) -> tuple[str, int]:
    """Handler of encoding errors: the nearest that ASCII has."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(letters_of, error.object[error.start : error.end])), error.end


def letters_of(char: str) -> str:
    """One character in ASCII; a byte that was no text, as \\xff."""
    if 0xDC80 <= ord(char) <= 0xDCFF:
        return f"\\x{ord(char) - 0xDC00:02x}"
    near = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return LETTERS.get(char) or near or "?"
