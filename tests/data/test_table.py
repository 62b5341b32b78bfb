"""A table is read right, or refused in one line that names file, rule and remedy."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import table_file
from bnsweep.data.dataset import Dataset, load

A = [round(0.5 + 0.25 * i, 2) for i in range(60)]
B = [i % 7 for i in range(60)]
KIND = ["no", "or", "yes"]
Y = [i % 3 for i in range(60)]


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": A, "b": B, "kind": [KIND[i % 3] for i in range(60)], "y": [f"c{y}" for y in Y]})


def config(path: Path, **settings: Any) -> DataConfig:
    given = {"target": "y", "validation": None, "standardize": False, **settings}
    return DataConfig("table", file=str(path), **given)


def read(path: Path, **settings: Any) -> Dataset:
    return load(config(path, **settings))


def csv(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    frame().to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def test_numbers_texts_and_labels_are_read(table: Path) -> None:
    found = read(table)
    x = np.column_stack([A, B, *([[float(i % 3 == k) for i in range(60)] for k in range(3)])])
    assert torch.equal(found.x_ND, torch.from_numpy(x).float()) and found.y_N.tolist() == Y
    assert found.facts is not None and (found.facts.pool, found.facts.test, found.facts.classes) == (48, 12, 3)
    assert found.notes == (f"{table}: 60 rows of 5 numbers from 3 columns; 3 classes: c0 (20), c1 (20), c2 (20)",)


def semicolons(path: Path) -> None:
    frame().to_csv(path, index=False, sep=";", decimal=",")


def packed(path: Path) -> None:
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(frame().to_csv(index=False).encode()))
    path.with_suffix(".csv.gz").rename(path)


SAME: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "tabs": ("x.tsv", lambda p: frame().to_csv(p, index=False, sep="\t")),
    "tabs by another name": ("x.csv", lambda p: frame().to_csv(p, index=False, sep="\t")),
    "semicolons and decimal commas": ("x.csv", semicolons),
    "bars": ("x.txt", lambda p: frame().to_csv(p, index=False, sep="|")),
    "spaces": ("x.data", lambda p: p.write_text(frame().to_string(index=False))),
    "a mark of UTF-8": ("x.csv", lambda p: frame().to_csv(p, index=False, encoding="utf-8-sig")),
    "UTF-16": ("x.csv", lambda p: frame().to_csv(p, index=False, encoding="utf-16")),
    "Windows": ("x.csv", lambda p: frame().to_csv(p, index=False, lineterminator="\r\n")),
    "quoted": ("x.csv", lambda p: frame().to_csv(p, index=False, quoting=1)),
    "white": ("x.csv", lambda p: csv(p, frame().to_csv(index=False).replace(",", " , "))),
    "empty lines": ("x.csv", lambda p: csv(p, "\n\n" + frame().to_csv(index=False) + "\n\n")),
    "a remark": ("x.csv", lambda p: csv(p, "# made by hand, today\n" + frame().to_csv(index=False))),
    "an index": ("x.csv", lambda p: frame().to_csv(p)),
    "packed": ("x.csv.gz", packed),
    "Parquet": ("x.parquet", lambda p: frame().to_parquet(p)),
    "Parquet by another name": ("x.csv", lambda p: frame().to_parquet(p)),
    "categories": ("x.parquet", lambda p: frame().astype({"kind": "category", "y": "category"}).to_parquet(p)),
    "a constant": ("x.csv", lambda p: frame().assign(one=1).to_csv(p, index=False)),
    "a column without values": ("x.csv", lambda p: frame().assign(none=None).to_csv(p, index=False)),
    "thousands": ("x.csv", lambda p: csv(p, frame().to_csv(index=False).replace("\n", "\n"))),
}


@pytest.mark.parametrize(("name", "save"), SAME.values(), ids=list(SAME))
def test_however_a_table_is_written_it_is_the_same(
    name: str, save: Callable[[Path], Any], table: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    save(tmp_path / "other" / name)
    assert read(tmp_path / "other" / name).info.digest == read(table).info.digest


def test_numbers_with_commas_between_thousands_are_numbers(tmp_path: Path) -> None:
    rows = "\n".join(f'"{1000 * i:,}.5",{i % 2}' for i in range(40))
    assert read(csv(tmp_path / "x.csv", f"a,y\n{rows}\n")).x_ND[:, 0].tolist() == [1000 * i + 0.5 for i in range(40)]


def test_latin_letters_are_read_and_said(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{'é' if i % 2 else 'ü'}" for i in range(40))
    found = read(csv(tmp_path / "x.csv", f"a,y\n{rows}\n", "latin-1"))
    assert found.notes[0].endswith("x.csv: it is not UTF-8, and is read as Latin-1")
    assert "é (20), ü (20)" in found.notes[1]


def test_columns_are_chosen_and_left_out(table: Path) -> None:
    assert torch.equal(read(table, features=("b",)).x_ND, torch.tensor(B).float()[:, None])
    assert read(table, drop=("kind", "a")).info.digest == read(table, features=("b",)).info.digest
    assert read(table, target="kind", features=("a", "b")).info.digest != read(table).info.digest


def test_truth_values_are_one_number_and_one_target(tmp_path: Path) -> None:
    frame().assign(y=[i % 2 == 0 for i in range(60)], kind=[i % 4 == 0 for i in range(60)]).to_csv(tmp_path / "x.csv")
    found = read(tmp_path / "x.csv")
    assert found.x_ND.shape[1] == 3 and found.y_N.tolist() == [(i + 1) % 2 for i in range(60)]


MISSING = {"empty": "", "NA": "NA", "nan": "nan", "?": "?", "null": "null"}


@pytest.mark.parametrize("mark", MISSING.values(), ids=list(MISSING))
def test_missing_values_are_refused_dropped_or_filled(mark: str, table: Path) -> None:
    lines = table.read_text().splitlines()
    lines[3] = f"{mark},1,or,c1"
    table.write_text("\n".join(lines))
    says = r"must have a value everywhere, lacks some in a \(1\); data.missing=drop leaves such rows out, data"
    with pytest.raises(ConfigError, match=says):
        read(table)
    dropped = read(table, missing="drop")
    assert len(dropped.y_N) == 59 and "59 rows (1 with missing values left out) of 5 numbers" in dropped.notes[0]
    filled = read(table, missing="mean")
    assert filled.x_ND.isnan().sum() == 1 and filled.x_ND[2, 0].isnan()


def test_a_missing_text_is_missing_in_each_of_its_columns(table: Path) -> None:
    table.write_text(table.read_text().replace("0.5,0,no,c0", "0.5,0,,c0"))
    assert read(table, missing="mean").x_ND[0].isnan().tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("missing", ["refuse", "mean"])
def test_a_missing_target_is_refused(missing: str, table: Path) -> None:
    table.write_text(table.read_text().replace("0.5,0,no,c0", "0.5,0,no,"))
    with pytest.raises(ConfigError, match=r"lacks some in y \(1\); data.missing=drop leaves such rows out"):
        read(table, missing=missing)
    assert len(read(table, missing="drop").y_N) == 59


def test_large_numbers_keep_what_differs(tmp_path: Path) -> None:
    """As seconds since 1970 do, of which float32 tells 128 apart from none."""
    pd.DataFrame({"t": [1_700_000_000 + i for i in range(60)], "y": Y}).to_csv(tmp_path / "x.csv", index=False)
    found = read(tmp_path / "x.csv", standardize=True)
    expected = (np.arange(60) - 29.5) / np.arange(60).std()
    np.testing.assert_allclose(found.x_ND[:, 0].numpy(), expected, atol=1e-6)


def test_a_number_for_each_row_is_said(tmp_path: Path) -> None:
    frame().assign(id=range(100, 160)).to_csv(tmp_path / "x.csv", index=False)
    assert (
        read(tmp_path / "x.csv")
        .notes[1]
        .endswith("id holds another whole number in each row; data.drop leaves it out, if it only names rows")
    )


def test_a_regression_is_of_numbers(tmp_path: Path) -> None:
    frame().assign(y=A).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(ConfigError, match=r"must hold classes in y, which holds 60 numbers in 60 rows \(data.t"):
        read(tmp_path / "x.csv")
    found = read(tmp_path / "x.csv", task="regression")
    assert found.y_N.tolist() == A


def of(**columns: Any) -> Callable[[Path], Any]:
    """A table with other columns beside or in place of its own."""
    return lambda path: frame().assign(**columns).to_csv(path, index=False)


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], Any]:
    return lambda path: csv(path, content, encoding)


ROWS = "".join(f"{i},{i % 2}\n" for i in range(40))
FIELDS = r"must have as many fields in each line as the header's 2"
HEADER = r"must begin with a header line, which names the columns"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (text(""), r"must hold a header line and rows, holds nothing"),
    "white": (text(" \n\n  \n"), r"must hold a header line and rows, holds nothing"),
    "a header alone": (text("a,y\n"), r"x and y must hold a row|must have a column that differs|must hold .* rows"),
    "no header": (text(ROWS), HEADER + "; begins with 0, 0"),
    "one column": (text("y\n" + "1\n2\n" * 20), r"must have columns beside y, which is data.target"),
    "a name twice": (text("a,a,y\n1,2,3\n"), r"must name each column once, names a twice"),
    "more fields in all rows": (text("a,y\n1,2,3\n" * 3), FIELDS + ", has 3 in the first"),
    "more fields in one row": (text(f"a,y\n{ROWS}1,2,3\n{ROWS}"), FIELDS + r" \(Expected 2 fields in line 42, saw 3"),
    "fewer fields in one row": (text(f"a,y\n{ROWS}1\n{ROWS}"), r"must have a value everywhere, lacks some in y \(1\)"),
    "an open quote": (text(f'a,y\n{ROWS}"1,2\n{ROWS}'), FIELDS + r" \(EOF inside string"),
    "bytes": (lambda p: p.write_bytes(bytes(range(256)) * 9), r"must be a table as text or Parquet, holds other bytes"),
    "half a letter": (lambda p: p.write_bytes(b"\xff\xfea"), r"must hold a header line|must be text|must have"),
    "a folder": (lambda p: p.mkdir(), r"must be an ordinary file"),
    "a pipe": (os.mkfifo, r"must be an ordinary file"),
    "not there": (lambda p: None, r"must be a readable file \(No such file or directory\)"),
    "infinity": (of(a=[np.inf, *A[1:]]), r"must hold finite numbers, a holds infinity or .* \(data.drop=\[a\] leaves"),
    "beyond all numbers": (of(a=["1e400", *A[1:]]), r"must hold finite numbers, a holds infinity"),
    "numbers and texts": (
        of(a=["x", *A[1:]]),
        r"must hold numbers or texts in a column, a holds both, such as x ",
    ),
    "many texts": (
        of(kind=[f"n{i}" for i in range(60)]),
        r"must hold few different texts in a column, kind holds 60",
    ),
    "dates": (
        of(kind=pd.date_range("2026-01-01", periods=60).astype(str)),
        r"must hold few different texts in a co",
    ),
    "one class": (of(y="c"), r"y must hold labels of at least two classes, holds c alone"),
    "a label a row": (
        of(y=[f"n{i}" for i in range(60)]),
        r"y must hold classes of two samples or more, holds 60 ",
    ),
    "numbers for labels": (
        of(y=[i / 7 for i in range(60)]),
        r"must hold classes in y, which holds 60 numbers in 60",
    ),
    "constants": (of(a=1, b=2, kind="x"), r"must have a column that differs between rows, beside y"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_trained_on_is_refused_in_one_line(
    make: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    make(path)
    with pytest.raises(ConfigError, match=rf"^data.file={path}: ({says})[^\n]*$"):
        read(path)


PARQUET: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a text": (text("a,y\n1,2\n"), r"must be a whole Parquet file \(ArrowInvalid: "),
    "cut off": (lambda p: p.write_bytes(frame().to_parquet()[:-9]), r"must be a whole Parquet file \(ArrowInvalid: "),  # type: ignore[index]
    "lists": (lambda p: frame().assign(a=[[1, 2]] * 60).to_parquet(p), r"must hold numbers or texts, a holds \[1 2\]"),
    "dates": (
        lambda p: frame().assign(a=pd.date_range("2026-01-01", periods=60)).to_parquet(p),
        r"must hold numbers or texts, a holds 2026-01-01 00:00:00 \(data.drop=\[a\] leaves it out\)",
    ),
}


@pytest.mark.parametrize(("make", "says"), PARQUET.values(), ids=list(PARQUET))
def test_parquet_that_cannot_be_trained_on_is_refused(make: Callable[[Path], Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    make(path)
    with pytest.raises(ConfigError, match=rf"^data.file={path}: {says}[^\n]*$"):
        read(path)


@pytest.mark.parametrize("suffix", [".xlsx", ".json", ".zip", ".npz"])
def test_other_forms_are_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"x")
    with pytest.raises(ConfigError, match=rf"must be CSV, TSV or Parquet \(pandas writes them.*\), is {suffix}$"):
        read(tmp_path / f"x{suffix}")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target": "Y"}, r"must have the column Y of data.target, has "),
        ({"features": ("a", "kid")}, r"must have the column kid of data.features, has kind, …"),
        ({"drop": ("z",)}, r"must have the column z of data.drop, has a, b, kind, y"),
        ({"group": "z"}, r"must have the column z of data.group, has a, b, kind, y"),
        ({"drop": ("y",)}, r"must be given without y in data.drop, which is data.target"),
        ({"features": ("y", "a")}, r"must be given without y in data.features, which is data.target"),
        ({"drop": ("a", "b", "kind")}, r"must have a column that differs between rows, beside y"),
    ],
)
def test_columns_that_are_not_there_are_named(settings: dict[str, Any], says: str, table: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^data.file={table}: {says}"):
        read(table, **settings)


def test_what_is_larger_than_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_file, "free_host_bytes", lambda: 2**20)
    with (tmp_path / "x.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ConfigError, match=r"must fit into memory: it is 1024.0 GiB or more"):
        read(tmp_path / "x.csv")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 2**20))
    with pytest.raises(ConfigError, match=r"must fit into memory: it is 0.0 GiB or more"):
        read(tmp_path / "x.csv.gz")
    frame().sample(10**5, replace=True).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=r"must fit into memory"):
        read(tmp_path / "x.parquet")
