"""The files of a sweep's jobs, most of them put together: a part of a config that depends on nothing but the overrides
of that part is written once for all jobs that have these."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig, OmegaConf

from hydra_plugins.bnsweep.directory import Files, Yaml, dump, job_folder

if TYPE_CHECKING:
    from hydra_plugins.bnsweep.launcher import Jobs

NOTED = ("overrides", "job", "runtime")
"""The parts of Hydra's own config in which jobs differ."""


@dataclass(frozen=True)
class Part:
    """One part of some jobs' configs."""

    name: str
    overrides: tuple[str, ...]
    """Those that it has from them, where not all jobs have the same."""


class Texts:
    """Of jobs whose parts are apart, and whose folders are numbered; of others there are none."""

    def __init__(self, jobs: "Jobs", yaml: Yaml) -> None:
        self._jobs, self._yaml = jobs, yaml
        counts = Counter(text for overrides in jobs.overrides for text in dict.fromkeys(overrides))
        self._varied = {text: part_of(text) for text, count in counts.items() if count < len(jobs)}
        self._keys = keys_of(jobs.overrides[0])
        self._config = jobs.compose(0)
        """Whose notes are those of the job in turn."""
        parts = {*self._varied.values()}
        apart = "" not in parts and jobs.are_apart([*self._varied])
        self._apart = apart and parts < {*map(str, self._config)} and is_numbered(self._config, parts)
        self._parent = job_folder(self._config).parent
        self._known: dict[Part, str] = {}
        self._items: dict[str, str] = {}
        hydra = self._config.hydra
        self._of_all = {str(key): yaml.entry(hydra, str(key), 1) for key in hydra if key not in NOTED}

    def of(self, place: int) -> Files | None:
        """None where the job has to be composed."""
        overrides = self._jobs.overrides[place]
        if not self._apart or keys_of(overrides) != self._keys:
            return None
        number = self._jobs.note(self._config, place)
        hydra = self._config.hydra
        folder = self._parent / str(number)
        hydra.runtime.output_dir = os.path.abspath(folder)  # noqa: PTH100 (as Hydra)
        of_hydra = [self._of_all.get(str(key)) or self._yaml.entry(hydra, str(key), 1) for key in hydra]
        texts = {
            "config.yaml": self._text(place) or "{}\n",
            "hydra.yaml": "".join(["hydra:\n", *of_hydra]),
            "overrides.yaml": "".join(map(self._item, overrides)) or dump([]),
        }
        return Files(folder, hydra.output_subdir, texts, list(overrides))

    def _text(self, place: int) -> str:
        own: dict[str, list[str]] = {}
        for text in self._jobs.overrides[place]:
            if text in self._varied:
                own.setdefault(self._varied[text], []).append(text)
        names = (str(key) for key in self._config if key != "hydra")
        parts = [Part(name, tuple(own.get(name, ()))) for name in names]
        if any(part not in self._known for part in parts):
            config = self._jobs.compose(place)
            self._known |= {part: self._yaml.entry(config, part.name) for part in parts}
        return "".join([self._known[part] for part in parts])

    def _item(self, text: str) -> str:
        if text not in self._items:
            self._items[text] = dump([text])
        return self._items[text]


def keys_of(overrides: Sequence[str]) -> list[str]:
    return [text.partition("=")[0] for text in overrides]


def part_of(text: str) -> str:
    """Where an override sets something; empty where its text does not tell."""
    key, _, value = text.partition("=")
    plain = all(name.isidentifier() for name in key.split(".")) and "${" not in value
    return key.partition(".")[0] if plain else ""


def is_numbered(config: DictConfig, varied: set[str]) -> bool:
    """Whether job folders are named by their numbers, in one folder."""
    names = cast(dict[str, str], OmegaConf.to_container(config.hydra.sweep))
    references = re.findall(r"\$\{([^${}]*)\}", str(names["dir"]))
    known = [name.startswith("now:") or name.partition(".")[0] not in {*varied, "hydra"} for name in references]
    plain = len(known) == str(names["dir"]).count("${") and all(known)
    return plain and names["subdir"] == "${hydra.job.num}"
