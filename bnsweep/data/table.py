"""A table: `data=table data.file=wine.csv data.target=quality`. Its columns become the numbers that a network is given.

Axes: N rows, D numbers a row.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples
from bnsweep.data.groups import grouped
from bnsweep.data.samples import LISTED, TAKES_NUMBERS, Refused, check_room, home_path, listed, said, samples_of
from bnsweep.data.table_file import frame_of

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 100
"""Different texts of a column that become a column of 0 and 1 each."""

FEW = 5
"""Rows that a class of a numeric target has on average, at least; with fewer it is a number to be predicted."""

Column = npt.NDArray[np.float64]


def read(config: DataConfig) -> Samples:
    """The table's rows. Raises ConfigError."""
    assert config.file is not None
    try:
        path = home_path(config.file)
        frame, said_of_file = frame_of(path)
        samples = samples_of_frame(frame, config, str(path.absolute()))
    except OSError as error:
        raise ConfigError(f"data.file={config.file}: must be a readable file ({error.strerror or error})") from None
    except Refused as error:
        raise ConfigError(f"data.file={config.file}: {error}") from None
    notes = [*said_of_file, *samples.notes]
    return replace(samples, notes=tuple(f"{config.file}: {note}" for note in notes))


def samples_of_frame(frame: pd.DataFrame, config: DataConfig, source: str) -> Samples:
    """Rows of a data frame. Numbers and truth values are taken as numbers, every other column as one number, 0 or 1,
    for each text or category that occurs in the table; what never differs is left out. Raises Refused.

    Where the sweep standardises, columns are centred and scaled in float64 here, so that float32 keeps what differs in
    a column of large numbers; standardising on training rows undoes both, so that nothing is known of other rows.
    """
    assert config.target is not None
    frame = frame.rename(columns=lambda name: str(name).strip())
    chosen = Chosen.of(frame, config)
    rows = frame[[config.target, *([config.group] if config.group else []), *chosen.features]]
    rows, dropped = without_missing(rows, config, chosen)
    table = Numbers(len(rows))
    for name in chosen.features:
        table.add(name, rows[name])
    if not table.columns:
        raise Refused(f"must have a column that differs between rows, beside {config.target}")
    check_room(len(rows) * len(table.columns))
    x_ND = np.stack([scaled(column) if config.standardize else column for column in table.columns], axis=1)
    y_N = target_of(rows[config.target], config)
    samples = samples_of((x_ND, y_N), config.task, source, missing=config.missing == "mean")
    count = f"{len(rows):,} rows" + (f" ({dropped:,} with missing values left out)" if dropped else "")
    about = f"{count} of {x_ND.shape[1]:,} numbers from {table.used:,} columns; {samples.notes[-1]}"
    samples = replace(samples, notes=(about, *chosen.notes, *table.notes))
    return grouped(samples, rows[config.group].to_numpy(), f"data.group={config.group}") if config.group else samples


@dataclass
class Chosen:
    """Which columns are given to the network."""

    features: list[str]
    notes: list[str]

    @classmethod
    def of(cls, frame: pd.DataFrame, config: DataConfig) -> Chosen:
        """Raises Refused for names that the table does not have, or has twice."""
        names = list(frame.columns)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise Refused(f"must name each column once, names {said(twice)} twice")
        known = set(names)
        asked = {"target": [config.target], "features": config.features or (), "drop": config.drop}
        asked["group"] = [config.group] if config.group else []
        for key, wanted in asked.items():
            for name in wanted:
                if name not in known:
                    raise Refused(f"must have the column {said(name)} of data.{key}, has {near(str(name), names)}")
        for key in ("features", "drop"):
            if config.target in asked[key]:
                raise Refused(f"must be given without {said(config.target)} in data.{key}, which is data.target")
        apart = {config.target, config.group, *config.drop}
        nameless = [name for name in names if not name or name.startswith("Unnamed: ")]
        features = list(config.features) if config.features else [n for n in names if n not in (*apart, *nameless)]
        features = [name for name in dict.fromkeys(features) if name not in (config.group, *config.drop)]
        notes = ["a column without a name is left out"] if nameless and not config.features else []
        if len(names) == 1:
            raise Refused(f"must have columns beside {said(names[0])}, which is data.target")
        return cls(features, notes)


def near(name: str, names: Sequence[str]) -> str:
    """Columns that may have been meant."""
    some = difflib.get_close_matches(name, [n for n in names if n], n=3, cutoff=0.5) or [n for n in names if n][:LISTED]
    return ", ".join(map(said, some)) + (", …" if len(some) < len(names) else "")


def without_missing(rows: pd.DataFrame, config: DataConfig, chosen: Chosen) -> tuple[pd.DataFrame, int]:
    """The rows that data.missing leaves, and how many it left out. Columns without any value go, whatever it says.
    Raises Refused."""
    empty = [name for name in chosen.features if rows[name].isna().all()]
    if empty:
        chosen.notes.append(f"left out, as they have no value: {listed(empty)}")
        chosen.features = [name for name in chosen.features if name not in set(empty)]
        rows = rows.drop(columns=empty)
    counts = rows.isna().sum()
    lacking = {str(name): int(count) for name, count in counts.items() if count}
    if config.missing == "drop":
        kept = rows.dropna()
        if kept.empty:
            raise Refused("must have a row without missing values for data.missing=drop")
        return kept, len(rows) - len(kept)
    if config.missing == "mean":
        lacking = {name: count for name, count in lacking.items() if name in (config.target, config.group)}
    if lacking:
        found = listed([f"{said(name)} ({count:,})" for name, count in lacking.items()])
        other = "" if config.missing == "mean" else ", data.missing=mean puts the training rows' mean there"
        raise Refused(
            f"must have a value everywhere, lacks some in {found}; data.missing=drop leaves such rows out{other}"
        )
    return rows, 0


@dataclass
class Numbers:
    """The columns that a network is given, one after the other."""

    rows: int
    columns: list[Column] = field(default_factory=list)
    used: int = 0
    """Columns of the table that they are from."""
    constant: list[str] = field(default_factory=list)
    numbered: list[str] = field(default_factory=list)
    """Columns with another whole number in each row, which may be nothing but its name."""

    def add(self, name: str, column: pd.Series[Any]) -> None:
        """One column of the table, as one number or several. Raises Refused."""
        import pandas as pd

        drop = f"(data.drop=[{name}] leaves it out)"
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
            values = column.to_numpy(np.float64, na_value=np.nan)
            if np.isinf(values).any():
                raise Refused(f"must hold finite numbers, {said(name)} holds infinity or what is beyond float64 {drop}")
            if pd.api.types.is_integer_dtype(column) and self.rows > 1 and column.nunique() == self.rows:
                self.numbered.append(name)
            self._take(name, [values])
        else:
            self._take(name, categories(name, column, drop))

    def _take(self, name: str, columns: list[Column]) -> None:
        differing = [column for column in columns if differs(column)]
        self.columns += differing
        self.used += bool(differing)
        if not differing:
            self.constant.append(name)

    @property
    def notes(self) -> list[str]:
        notes = [f"left out, as they never differ: {listed(self.constant)}"] if self.constant else []
        if self.numbered:
            says = "holds another whole number in each row; data.drop leaves it out, if it only names rows"
            notes.append(f"{listed(self.numbered)} {says}")
        return notes


def differs(column: Column) -> bool:
    known = column[~np.isnan(column)]
    return bool(len(known)) and bool((known != known[0]).any())


def categories(name: str, column: pd.Series[Any], drop: str) -> list[Column]:
    """One column for each text or category, 1 where it stands; missing where nothing does. Raises Refused."""
    import pandas as pd

    known = column.dropna()
    if not all(isinstance(value, str | bool) for value in known.iloc[:MOST_CATEGORIES]):
        raise Refused(f"must hold numbers or texts, {said(name)} holds {said(known.iloc[0])} {drop}")
    texts = known.astype(str).str.strip()
    found = sorted(texts.unique())
    numeric = pd.to_numeric(texts, errors="coerce").notna()
    if numeric.mean() > 0.5 and not numeric.all():
        some = said(texts[~numeric].iloc[0])
        raise Refused(f"must hold numbers or texts in a column, {said(name)} holds both, such as {some} {drop}")
    if len(found) > min(MOST_CATEGORIES, max(2, len(column) // 2)):
        says = f"must hold few different texts in a column, {said(name)} holds {len(found):,}, such as {said(found[0])}"
        raise Refused(f"{says} {drop}")
    texts = column.astype(object).where(column.isna(), column.astype(str).str.strip())
    missing = column.isna().to_numpy()
    return [np.where(missing, np.nan, (texts == value).to_numpy(np.float64)) for value in found]


def scaled(column: Column) -> Column:
    """Shifted and scaled, in float64, to mean 0 and standard deviation 1 over all rows."""
    deviation = np.nanstd(column)
    return (column - np.nanmean(column)) / (deviation if deviation > 0 else 1.0)


def target_of(column: pd.Series[Any], config: DataConfig) -> npt.NDArray[Any]:
    """Labels, or numbers. Raises Refused for a number to be predicted where classes are asked for."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column):
        return column.to_numpy(bool)
    if not pd.api.types.is_numeric_dtype(column):
        return column.astype(str).str.strip().to_numpy(str)
    values = column.to_numpy()
    different = column.nunique()
    if config.task == CLASSIFICATION.name and different * FEW > len(values) and different > 2:
        says = f"{different:,} numbers in {len(values):,} rows ({TAKES_NUMBERS})"
        raise Refused(f"must hold classes in {said(str(config.target))}, which holds {says}")
    return np.asarray(column.to_numpy(np.float64 if values.dtype.kind not in "iu" else None))
