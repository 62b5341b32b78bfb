"""The datasets: one row each, and one YAML in conf/data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """What networks, splits and the report need to know of a dataset."""

    pool: int
    """Samples that training and validation are drawn from."""
    test: int
    """Samples of the test set."""
    features: int
    """Numbers a sample."""
    classes: int = 10
    official_test: bool = True
    """Whether the last `test` rows are the test set. Otherwise every seed draws its own from all rows."""
    digest: str = ""
    """Of the samples as they were read; empty before."""


@dataclass(frozen=True)
class DatasetKind:
    name: str
    read: str
    """`module:function` that takes a DataConfig and gives data.dataset.Samples."""
    facts: DatasetFacts | None = None
    """Known without reading a file. None: they are known once the data are read, and the digest of what was read is
    then part of a run's identity."""


ROWS = (
    DatasetKind("digits", "bnsweep.data.digits:read", DatasetFacts(1437, 360, 64, official_test=False)),
    DatasetKind("mnist", "bnsweep.data.mnist:read", DatasetFacts(60_000, 10_000, 784)),
    DatasetKind("gaussian", "bnsweep.data.generated:read", DatasetFacts(2000, 500, 100)),
    DatasetKind("pixels", "bnsweep.data.generated:read", DatasetFacts(2000, 500, 784)),
    DatasetKind("fashion_mnist", "bnsweep.data.mnist:read", DatasetFacts(60_000, 10_000, 784)),
    DatasetKind("callable", "bnsweep.data.outside:read"),
)
DATASETS = {row.name: row for row in ROWS}
