"""Every experiment that ships composes, can answer what it expects, and is drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from synthetic_runs import failed, lost, panels, synthetic

from bnsweep.config.identity import identity
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import conf_folder
from bnsweep.experiments.compose import Experiment, Library
from bnsweep.experiments.figures import figures, save
from bnsweep.experiments.figures.catalogue import FIGURES
from bnsweep.experiments.figures.page import WHITE
from bnsweep.report.figures.style import styled

SHIPPED = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))
Composed = Callable[[str, str], Experiment]


@pytest.fixture(scope="module")
def library() -> Library:
    """Of the experiments that ship: each is composed once."""
    return Library()


@pytest.fixture(scope="module")
def composed(library: Library) -> Composed:
    """An experiment in one of its forms, composed once."""
    return cache(library.experiment)


PUBLISHED = {
    "bn-skip-depth": 6,
    "bn-vs-init-scale": 33,
    "fashion-mnist": 3,
    "mnist1d": 3,
    "mnist1d-shuffled": 3,
    "overfit": 4,
    "udacity-grid": 10,
    "yang-depth": 1,
}
"""Entries whose number or statement was read in the source or in its recorded run; all others say otherwise."""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_experiment_that_ships_can_answer_what_it_expects(
    name: str, library: Library, composed: Composed
) -> None:
    node = library.master(name).experiment
    assert node.name == name and node.purpose and node.source
    for form in ("full", "quick") if node.quick else ("full",):
        experiment = composed(name, form)
        assert len({identity(config) for config in experiment.configs}) > 1


def test_nothing_is_called_published_that_was_not_read_in_its_source(library: Library) -> None:
    entries = [(name, entry) for name in SHIPPED for entry in library.master(name).experiment.expect]
    assert Counter(name for name, entry in entries if entry["from"] == "published") == PUBLISHED
    told = [entry for _, entry in entries if entry["from"] == "second-hand"]
    assert told and all("note" in entry and "expected" not in entry for entry in told), "nobody has read a number"


def arms(experiment: Experiment) -> list[RunConfig]:
    """Its runs of one seed."""
    return [config for config in experiment.configs if config.seed == experiment.configs[0].seed]


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_experiment_is_drawn_small_and_labelled_with_runs_that_diverged_or_failed(
    name: str, composed: Composed, tmp_path: Path
) -> None:
    runs = [synthetic(replace(config, seed=seed)) for seed in (0, 1) for config in arms(composed(name, "full"))]
    trained = runs[0].config.total_steps > 0
    runs = [lost(run) if trained and i // 2 % 3 == 0 else run for i, run in enumerate(runs)]  # both seeds of some arms
    runs[-1] = failed(runs[-1])
    with styled(WHITE):
        found = figures(name, runs)
        paths = {stem: save(figure, stem, tmp_path) for stem, (figure, _) in found.items()}
    assert len(found) == len(FIGURES[name])
    for stem, (figure, caption) in found.items():
        path = paths[stem]
        assert path.stat().st_size < 200_000 and ET.parse(path).getroot().get("viewBox")
        assert len(caption) > 40
        assert figure.get_figwidth() == pytest.approx(7.2), "690 pixels"
        assert figure.texts[0].get_text(), "a title"
        assert any(ax.get_xlabel() for ax in panels(figure)) and any(ax.get_ylabel() for ax in panels(figure))
        assert all(ax.lines or ax.images or ax.artists or ax.patches for ax in panels(figure)), "nothing is empty"


def test_every_experiment_with_expectations_has_a_drawing_of_its_own(library: Library) -> None:
    assert set(library.names) <= set(FIGURES)
