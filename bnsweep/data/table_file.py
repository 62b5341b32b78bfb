"""A table's file as a data frame: text with a header line (CSV, TSV), or Parquet. Only this file knows their forms."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import stat
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.data.host import free_host_bytes
from bnsweep.data.samples import Refused, said
from bnsweep.own.call import error_text

if TYPE_CHECKING:
    import pandas as pd

OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
OTHERS = {
    ".xls",
    ".xlsx",
    ".ods",
    ".json",
    ".jsonl",
    ".feather",
    ".h5",
    ".hdf5",
    ".zip",
    ".zst",
    ".pkl",
    ".pickle",
    ".npz",
}
SEPARATORS = ",\t;|"
PARSED = 4
"""Bytes of memory that a byte of text takes while it is parsed, about."""
HEAD = 2**20
"""Bytes of the text that are looked at to find out its form."""
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
MISSING_TEXT = ("?",)
"""Taken for a missing value, beside what pandas takes: nothing, NA, NaN, null, None …"""


def frame_of(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table of a file, and what is to be said of how it was read. Raises Refused, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refused("must be an ordinary file")
    if path.suffix.lower() in OTHERS:
        raise Refused(f"must be CSV, TSV or Parquet (pandas writes them: to_csv, to_parquet), is {path.suffix}")
    with path.open("rb") as file:
        packed = file.read(4) == b"PAR1"
    if packed or path.suffix.lower() in (".parquet", ".pq"):
        return of_parquet(path), []
    content = content_of(path)
    encoding, notes = encoding_of(content)
    return of_text(content, encoding), notes


def content_of(path: Path) -> bytes:
    """The bytes of a text, inflated where the name says that it is packed; no more than memory holds once parsed.
    Raises Refused, OSError."""
    most = free_host_bytes() // PARSED
    opener = OPENERS.get(path.suffix.lower(), open)
    if opener is open and path.stat().st_size > most:
        raise too_large(path.stat().st_size, most)
    try:
        with opener(path, "rb") as file:
            content: bytes = file.read(most + 1)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise Refused(f"must be a whole {path.suffix} file ({error_text(error)})") from None
    if len(content) > most:
        raise too_large(len(content), most)
    return content


def too_large(size: int, most: int) -> Refused:
    return Refused(f"must fit into memory: it is {size / 2**30:.1f} GiB or more, and {most / 2**30:.1f} GiB of text do")


def encoding_of(content: bytes) -> tuple[str, list[str]]:
    """How the text is written, and what is to be said of that. Raises Refused for what is no text."""
    for mark, name in MARKS.items():
        if content.startswith(mark):
            return name, []
    if b"\0" in content[:HEAD]:
        raise Refused("must be a table as text or Parquet, holds other bytes")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1", ["it is not UTF-8, and is read as Latin-1"]
    return "utf-8", []


def of_text(content: bytes, encoding: str) -> pd.DataFrame:
    """Raises Refused."""
    import pandas as pd

    try:
        lines = content[:HEAD].decode(encoding, "ignore").splitlines()
    except UnicodeError:
        raise Refused(f"must be text, is no {encoding}") from None
    skipped, separator = form_of(lines)
    names, first = (fields(line, separator) for line in (*lines[skipped:], "", "")[:2])
    check_names(names, first)
    given: dict[str, Any] = {
        "sep": r"\s+" if separator == " " else separator,
        "skiprows": skipped,
        "encoding": encoding,
    }
    given |= {"skipinitialspace": True, "na_values": list(MISSING_TEXT), "index_col": False, "low_memory": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(io.BytesIO(content), header=0, names=range(len(names)), **given)
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeError, ValueError) as error:
        why = error_text(error).partition("C error: ")[2] or error_text(error)
        raise Refused(f"must have as many fields in each line as the header's {len(names)} ({why})") from None
    frame.columns = pd.Index(names)
    return numbers_read(frame, decimal_comma=separator != ",")


def form_of(lines: Sequence[str]) -> tuple[int, str]:
    """Lines before the header, and what parts its fields; a space for any white. Raises Refused."""
    skipped = next((i for i, line in enumerate(lines) if line.strip() and not is_comment(lines, i)), len(lines))
    if skipped == len(lines):
        raise Refused("must hold a header line and rows, holds nothing")
    header = re.sub(r'"[^"]*"', "", lines[skipped])
    counts = Counter({mark: header.count(mark) for mark in SEPARATORS})
    separator, count = counts.most_common(1)[0]
    if count:
        return skipped, separator
    return skipped, " " if len(header.split()) > 1 and len(lines) > skipped + 1 else ","


def is_comment(lines: Sequence[str], i: int) -> bool:
    """Whether a line is a remark: a header may begin with # as well, but has as many fields as the line below it."""
    if not lines[i].lstrip().startswith("#"):
        return False
    below = lines[i + 1] if i + 1 < len(lines) else ""
    return all(lines[i].count(mark) != below.count(mark) or not below.count(mark) for mark in SEPARATORS)


def fields(line: str, separator: str) -> list[str]:
    """The fields of one line, without white around them."""
    if separator == " ":
        return line.split()
    return [field.strip() for row in csv.reader([line], delimiter=separator, skipinitialspace=True) for field in row]


def check_names(names: Sequence[str], first: Sequence[str]) -> None:
    """Raises Refused for a header that is none, names a column twice, or is shorter than the first row."""
    if not any(names):
        raise Refused("must begin with a header line, which names the columns")
    if all(is_number(name) for name in names if name):
        raise Refused(f"must begin with a header line, which names the columns; begins with {said(', '.join(names))}")
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise Refused(f"must name each column once, names {said(twice[0])} twice")
    if len(first) > len(names) and any(first[len(names) :]):
        raise Refused(
            f"must have as many fields in each line as the header's {len(names)}, has {len(first)} in the first"
        )


def is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


DECIMAL_COMMA = r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?|[+-]?\d+"
THOUSANDS = r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?|[+-]?\d+(?:\.\d*)?"


def numbers_read(frame: pd.DataFrame, decimal_comma: bool) -> pd.DataFrame:
    """With numbers where a column of texts is one of numbers that are written with commas: 1,5 or 1,234.5."""
    import pandas as pd

    frame = frame.copy()
    for place, _ in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if not pd.api.types.is_string_dtype(column):
            continue
        texts = column.str.strip().replace("", None)
        known = texts.dropna()
        if len(known) and known.str.contains(",").any():
            if decimal_comma and known.str.fullmatch(DECIMAL_COMMA).all():
                texts = pd.to_numeric(texts.str.replace(",", "."))
            elif known.str.fullmatch(THOUSANDS).all():
                texts = pd.to_numeric(texts.str.replace(",", ""))
        frame.isetitem(place, texts.array)
    return frame


def of_parquet(path: Path) -> pd.DataFrame:
    """Raises Refused."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(path)
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        most = free_host_bytes() // PARSED
        if max(size, 8 * about.num_rows * about.num_columns) > most:
            raise too_large(max(size, 8 * about.num_rows * about.num_columns), most)
        return pd.read_parquet(path)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise Refused(f"must be a whole Parquet file ({error_text(error)})") from None
