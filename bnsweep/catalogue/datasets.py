"""The datasets: one row each, and one YAML in conf/data."""

from __future__ import annotations

from dataclasses import dataclass

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".parquet", ".pq", ".gz", ".bz2", ".xz")
"""How the names of files end that are taken for tables, where nobody says what they are."""
MISSING = ("refuse", "drop", "mean")
"""What is done about missing values: the table is refused, rows that have one are left out, or the mean of the training
rows stands in their place."""


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
    """0 for a regression."""
    official_test: bool = True
    """Whether the last `test` rows are the test set. Otherwise every seed draws its own from all rows."""
    digest: str = ""
    """Of the samples as they were read; empty before."""
    shape: tuple[int, ...] = ()
    """Of a sample, as it was given: [C, H, W], [H, W] or [L]; empty where it is a row of numbers."""
    unused: int = 0
    """Samples of the pool that a seed may have to leave out, so that no group is divided; always so many."""
    groups: int = 0
    """How many groups stay together; 0 where samples are on their own."""
    step: int = 1
    """Samples of a group, where all groups are of one size: parts of a split are multiples of it."""

    @property
    def outputs(self) -> int:
        """Numbers that a network gives for a sample."""
        return self.classes or 1


@dataclass(frozen=True)
class DatasetKind:
    name: str
    read: str
    """`module:function` that takes a DataConfig and gives data.dataset.Samples."""
    facts: DatasetFacts | None = None
    """Known without reading a file. None: they are known once the data are read, and the digest of what was read is
    then part of a run's identity."""
    takes: tuple[str, ...] = ()
    """Settings of the group `data` that only some kinds of data take."""
    needs: tuple[str, ...] = ()
    """Those of them that it cannot do without."""


ROWS = (
    DatasetKind("digits", "bnsweep.data.digits:read", DatasetFacts(1437, 360, 64, official_test=False, shape=(8, 8))),
    DatasetKind("mnist", "bnsweep.data.mnist:read", DatasetFacts(60_000, 10_000, 784, shape=(28, 28))),
    DatasetKind("gaussian", "bnsweep.data.generated:read", DatasetFacts(2000, 500, 100)),
    DatasetKind("pixels", "bnsweep.data.generated:read", DatasetFacts(2000, 500, 784)),
    DatasetKind("fashion_mnist", "bnsweep.data.mnist:read", DatasetFacts(60_000, 10_000, 784, shape=(28, 28))),
    DatasetKind("mnist1d", "bnsweep.data.mnist1d:read", DatasetFacts(4000, 1000, 40, shape=(40,))),
    DatasetKind("cifar10", "bnsweep.data.cifar:read", DatasetFacts(50_000, 10_000, 3072, shape=(3, 32, 32))),
    DatasetKind("images", "bnsweep.data.images:read", takes=("size", "colour")),
    DatasetKind(
        "table",
        "bnsweep.data.table:read",
        takes=("file", "target", "features", "drop", "group", "missing", "task"),
        needs=("file", "target"),
    ),
    DatasetKind("arrays", "bnsweep.data.arrays:read", takes=("file", "task"), needs=("file",)),
    DatasetKind("callable", "bnsweep.data.outside:read", takes=("call", "kwargs", "task")),
)
DATASETS = {row.name: row for row in ROWS}
