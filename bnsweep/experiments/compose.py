"""From conf/experiment/NAME.yaml to the runs of an experiment, composed in this process by Hydra's own rules."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from bnsweep.config.cells import excluded
from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import numbers
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import conf_folder, from_composed, register_schema
from bnsweep.experiments.expect import Expectation, read_expectations

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bnsweep.data.dataset import Dataset

FORMS = ("auto", "quick", "full")


@dataclass(frozen=True)
class Experiment:
    """A named experiment, ready to be run."""

    name: str
    purpose: str
    source: str
    notes: str
    quick: bool
    """Whether this is its quick form."""
    overrides: list[str]
    """What was set by hand."""
    configs: list[RunConfig]
    expectations: list[Expectation]

    @property
    def form(self) -> str:
        """What its rows are labelled with; empty for the set-up of its file."""
        changed = [text for text in self.overrides if not text.lstrip("+").startswith(HARMLESS)]
        return ", ".join([*(["quick form"] if self.quick else []), *changed])


HARMLESS = ("data.root=", "train.device=", "sweep.", "tracking.")
"""Settings that change no number, up to rounding."""


class Library:
    """The experiments there are, with what was set by hand for all of them."""

    def __init__(self, overrides: Sequence[str] = ()) -> None:
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra._internal.utils import create_config_search_path
        from hydra.core.object_type import ObjectType
        from hydra.core.plugins import Plugins
        from hydra.core.utils import setup_globals

        from hydra_plugins.bnsweep.overrides import check_duplicates, parse_override

        register_schema()
        setup_globals()
        Plugins.instance()
        self._loader = ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
        kinds = [(text, parse_override(text).is_hydra_override()) for text in overrides]
        self._hydra = [text for text, of_hydra in kinds if of_hydra]
        self.overrides = [text for text, of_hydra in kinds if not of_hydra]
        check_duplicates(self.overrides)
        self._files = sorted(self._loader.get_group_options("experiment", ObjectType.CONFIG, "config", self._hydra))
        self._masters: dict[str, DictConfig] = {}
        self.datasets: dict[tuple[str, str], Dataset] = {}
        """Those that had to be read to know what the runs are."""

    @property
    def names(self) -> list[str]:
        """Of the experiments that expect anything."""
        return [name for name in self._files if self.master(name).experiment.expect]

    def master(self, name: str) -> DictConfig:
        if name not in self._masters:
            self._masters[name] = self._master(name)
        return self._masters[name]

    def _master(self, name: str) -> DictConfig:
        """The sweep's own config, with hydra.sweeper.params and the experiment's node."""
        from hydra.types import RunMode
        from omegaconf import OmegaConf

        arguments = [f"+experiment={name}", *self.overrides, *self._hydra]
        master = self._loader.load_configuration("config", arguments, RunMode.MULTIRUN)
        OmegaConf.select(master, "hydra.sweep.dir")  # fixes the start time that names may hold
        return master

    def chosen(self, names: Sequence[str]) -> list[str]:
        """All of them for no name at all. Raises ConfigError for one that is none."""
        for name in names:
            if name not in self._files:
                near = difflib.get_close_matches(name, self._files, n=3) or self._files
                raise ConfigError(
                    f"{name or repr(name)}: no such experiment (choices: {', '.join(near)}; --list says more)"
                )
            if not self.master(name).experiment.expect:
                raise ConfigError(f"{name}: expects nothing: its file must have entries under experiment.expect")
        found = list(dict.fromkeys(names)) or self.names
        if not found:
            raise ConfigError("conf/experiment: must hold a file with entries under experiment.expect")
        return found

    def describe(self) -> str:
        """One line an experiment."""
        nodes = [(name, self.master(name).experiment) for name in self.names]
        wide = max((len(name) for name, _ in nodes), default=0)
        said = [(name, " ".join(node.purpose.split()) + (" (heavy)" if node.heavy else "")) for name, node in nodes]
        return "\n".join(f"  {name:<{wide}}  {purpose}" for name, purpose in said)

    def experiment(self, name: str, form: str) -> Experiment:
        """One of them, in one of FORMS, with its runs; everything that can be refused is refused here."""
        from omegaconf import OmegaConf

        master = self.master(name)
        node = cast(dict[str, Any], OmegaConf.to_container(master.experiment, resolve=True))
        quick = bool(node["quick"]) and (form == "quick" or (form == "auto" and not on_gpu(master)))
        try:
            configs = self._compose(master, name, node["quick"] if quick else [])
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        if not configs:
            raise ConfigError(f"{name}: no runs: an override sweeps over an empty range or list")
        out = excluded(dict(enumerate(configs)), configs[0].sweep.exclude)
        configs = [config for job, config in enumerate(configs) if job not in out]
        expectations = read_expectations(name, node["expect"], configs, quick)
        facts = node["purpose"], node["source"], node["notes"]
        return Experiment(name, *facts, quick, self.overrides, configs, expectations)

    def _compose(self, master: DictConfig, name: str, quick: Sequence[str]) -> list[RunConfig]:
        """The jobs that differ in the seed alone are composed once, unless a setting refers to the seed."""
        from hydra_plugins.bnsweep.compose import Composer
        from hydra_plugins.bnsweep.sweeper import REPLICATE, sweep_jobs

        jobs = sweep_jobs(master, [f"+experiment={name}", *self.overrides], quick)
        composer = Composer(self._loader, master, jobs)
        cells: dict[tuple[str, ...], list[int]] = {}
        for place, job in enumerate(jobs):
            cells.setdefault(tuple(text for text in job if not text.startswith(REPLICATE)), []).append(place)
        configs: dict[int, RunConfig] = {}
        for places in cells.values():
            first, last = places[0], places[-1]
            configs |= {place: self._run(composer.compose(jobs[place])) for place in {first, last}}
            alike = numbers(replace(configs[first], seed=configs[last].seed)) == numbers(configs[last])
            for place in places[1:-1]:
                (seed,) = (int(text.removeprefix(REPLICATE)) for text in jobs[place] if text.startswith(REPLICATE))
                copied = replace(configs[first], seed=seed)
                configs[place] = copied if alike else self._run(composer.compose(jobs[place]))
        return [configs[place] for place in range(len(jobs))]

    def _run(self, config: DictConfig) -> RunConfig:
        run = run_of(config)
        if run.data.known and not run.own_code:
            return run
        from bnsweep.training.known import with_facts

        return with_facts([run], self.datasets)[0]


def run_of(config: DictConfig) -> RunConfig:
    """The run of a job, without what the experiment says of itself, which is long and the same for all."""
    from omegaconf import open_dict

    with open_dict(config):
        del config["experiment"]
    return from_composed(config)


def on_gpu(master: DictConfig) -> bool:
    """Whether its runs would be trained on a GPU."""
    from bnsweep.training.device import resolve_device

    return resolve_device(str(master.train.device)).type == "cuda"
