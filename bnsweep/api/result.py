"""What a sweep found, as tables, figures, networks and files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.api.given import IN_MEMORY
from bnsweep.api.process import load_matplotlib
from bnsweep.cli.quoting import shortened
from bnsweep.config.checks import ConfigError, printable
from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from bnsweep.report.figures import Scene
    from bnsweep.report.frame.source import Source
    from bnsweep.report.pages.content import ReportContent
    from bnsweep.report.pages.write import Report


@dataclass(frozen=True, eq=False)
class Result:
    """What a sweep found. In a notebook its last line shows the answer, the verdicts and the ranking."""

    frame: Source = field(repr=False)
    """The sweep as the report reads it."""
    command: str
    """The command that trains the same runs; after a line that saves the data, where they were in memory."""
    metric: str | None = None
    """What ranks; None: the final validation score."""
    configs: Mapping[str, RunConfig] = field(default_factory=dict, repr=False)
    """Identity -> run."""
    networks: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Identity -> state dict, of networks that are kept in memory."""

    @property
    def runs(self) -> pd.DataFrame:
        """One row a run, in the order planned: run_id, identity, status (finished, diverged, stopped, failed, missing),
        reason; a column for each setting, under the name that a command gives it; classes of the data (0: a
        regression); seconds of training; single numbers of the run, which in a stopped one are those of its last
        evaluation. Accuracies and R² are shares (1 is all), losses are in nats or, in a regression, in variances of the
        target; steps are training steps. `attrs["titles"]` says what each number is."""
        from bnsweep.catalogue.metrics import metric_of

        runs = self.frame.runs.copy()
        titles = {name: row.title for name in runs if (row := metric_of(str(name))) is not None}
        runs.attrs["titles"] = titles | {"seconds": "seconds of training, a run's share of its stack"}
        return runs

    def history(self, metrics: Sequence[str] | str | None = None) -> pd.DataFrame:
        """One row a run, evaluation and metric: run_id, step, epoch, metric, value, and the settings that were swept.
        By default losses and scores of all three splits; a name with * takes all that match, such as layer/*/std."""
        import fnmatch

        from bnsweep.report.frame.metrics import task_of

        score = task_of(self.frame.runs).score
        default = [f"{split}/{kind}" for split in ("train", "val", "test") for kind in ("loss", score)]
        asked = [metrics] if isinstance(metrics, str) else metrics or default
        known = self._measured
        names = [name for name in known if any(fnmatch.fnmatchcase(name, one) for one in asked)]
        for one in asked:
            if not fnmatch.filter(known, one):
                raise ConfigError(f"metrics={one}: must be one that these runs have: {', '.join(known)}")
        long = self.frame.history(names)
        swept = [*self._content.grid.swept, "seed"]
        return long.merge(self.frame.runs[["run_id", *dict.fromkeys(swept)]], on="run_id")

    @cached_property
    def _measured(self) -> list[str]:
        """Of the history of any run."""
        from bnsweep.catalogue.metrics import measured
        from bnsweep.report.frame.grid import most_hidden_layers
        from bnsweep.report.frame.metrics import task_of

        rows = measured(most_hidden_layers(self.frame.runs), task_of(self.frame.runs))
        possible = [name for name, row in rows.items() if not row.single and name not in ("step", "epoch")]
        some = [run_id for run_id in self.frame.runs["run_id"] if run_id][:50]
        found = set(self.frame.history(possible, some)["metric"])
        return [name for name in possible if name in found]

    @property
    def ranking(self) -> pd.DataFrame:
        """One row an arm, best first, each at its best learning rate, and then at one for all; ranking.csv, of whose
        columns columns.csv says what they mean."""
        from bnsweep.report.pages.machine import ranking_table

        return ranking_table(self._content)

    @property
    def claims(self) -> pd.DataFrame:
        """One row a comparison, with the verdict of its claim; claims.csv."""
        from bnsweep.report.pages.machine import claims_table

        return claims_table(self._content.verdicts)

    @property
    def factors(self) -> pd.DataFrame:
        """How much of the differences each setting explains, alone and in pairs; factors.csv."""
        return self._content.analysis.table.copy()

    @property
    def answer(self) -> str:
        """Who is ahead, in a sentence."""
        return self._content.answer

    def plot(self, name: str) -> Figure:
        """A figure of the report by its name, or by a part of it: "flow" is the one of gradient flow. Raises
        ConfigError, with the names there are."""
        from bnsweep.report.figures import named, pictures

        return named(pictures(self._scene, self._content.verdicts), "plot", str(name)).figure

    def report(
        self,
        out: str | Path = "report",
        figures: Sequence[str] | str = (),
        only: Sequence[str] | str = (),
        links: bool = True,
    ) -> Report:
        """Write report.html, .md and .png, summary.json and tables into a folder; `show()` of it prints the answer.
        `figures`, of svg, pdf and png, writes each figure as a file too, or `only` those named: (figures="pdf",
        only="flow"). `links`: whether the page leads to the runs in MLflow."""
        from bnsweep.report import write_report
        from bnsweep.report.frame.figure_files import FigureFiles, listed

        load_matplotlib()
        return write_report(self.frame, Path(out), self.metric, FigureFiles(listed(figures), listed(only)), links)

    def model(self, run: int | str | pd.Series[Any]) -> nn.Module:
        """The trained network of a run, given by its place in `runs`, its row there, its run_id or its identity, in
        eval mode on the CPU. A regression's predictions are of the standardised target: times target_std, plus
        target_mean of the run's row. Raises ConfigError for a run whose network was not kept."""
        from bnsweep.nets.plain import build

        row = self._row(run)
        name = str(row["identity"])
        if row["status"] != "finished":
            raise ConfigError(f"run={row['run_id'] or name}: must be one that finished, is {row['status']}")
        config, state = self._kept(name, str(row["run_id"]))
        model = build(config)
        model.load_state_dict(state)
        return model.eval()

    def _row(self, run: Any) -> pd.Series[Any]:
        runs = self.frame.runs
        if isinstance(run, int) and 0 <= run < len(runs):
            return runs.iloc[run]
        name = str(run["identity"]) if hasattr(run, "index") and "identity" in run else str(run)
        rows = runs[(runs["run_id"] == name) | (runs["identity"] == name)]
        if rows.empty or not name:
            says = "a run_id or an identity of this sweep, a row of its runs, or the place of one"
            raise ConfigError(f"run={shortened(printable(name))}: must be {says}")
        return rows.iloc[0]

    def _kept(self, name: str, run_id: str) -> tuple[RunConfig, Any]:
        """Config and state dict of a run. `name`: its identity."""
        if name in self.networks:
            return self.configs[name], self.networks[name]
        import safetensors.torch

        from bnsweep.store.sweep_data import SweepFrame

        folder = self.frame.model_folder(run_id) if isinstance(self.frame, SweepFrame) else None
        if folder is None:
            raise ConfigError(f"run={run_id}: must be one whose network was kept (keep_models=True keeps it)")
        config = self.configs[name] if name in self.configs else config_in(folder, name)
        return config, safetensors.torch.load_file(folder / "model.safetensors")

    @cached_property
    def _built(self) -> tuple[ReportContent, Scene | None]:
        from bnsweep.report.frame.libraries import load_libraries

        load_matplotlib()
        load_libraries()
        from bnsweep.report.frame.metrics import metric_named, task_of
        from bnsweep.report.pages.write import build

        return build(self.frame, metric_named(self.metric, task_of(self.frame.runs)))

    @property
    def _content(self) -> ReportContent:
        return self._built[0]

    @property
    def _scene(self) -> Scene | None:
        return self._built[1]

    def __str__(self) -> str:
        """The report's first screen."""
        from bnsweep.report.pages.terminal import plain_text

        return plain_text(self._content)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def config_in(folder: Path, name: str) -> RunConfig:
    """Of a run, by its identity, from its artifacts. Reads data of the user's own, whose sizes no file says; raises
    ConfigError where they are not there as they were."""
    import yaml  # type: ignore[import-untyped]

    from bnsweep.config.tree import from_tree
    from bnsweep.training.known import with_facts

    run = from_tree(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    if run.data.file == IN_MEMORY:
        says = "one on data in a file; of data that were in memory, the result of the same call to sweep() has it"
        raise ConfigError(f"run={name}: must be {says}")
    (run,) = with_facts([run], {})
    if identity(run) != name:
        raise ConfigError(f"run={name}: must be one on data that are still the same; data={run.data.name} changed")
    return run
