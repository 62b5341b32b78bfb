"""What the README tells a person to type works, and what it points at is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bnsweep.experiments.compose import Library

ROOT = Path(__file__).parents[1]
TEXT = "\n".join(
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", "conf/experiment/README.md")
)
PROSE = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
LINKS = sorted(set(re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", PROSE)))


def command_lines() -> list[str]:
    """Every line of a ```sh block, continued lines joined, prompts and comments taken off."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if shlex.split(line, comments=True)]


def words(line: str) -> list[str]:
    """A command without the settings of the environment before it, such as OMP_NUM_THREADS=1."""
    found = shlex.split(line, comments=True)
    while found and re.match(r"[A-Z_]+=", found[0]):
        found.pop(0)
    return found


MAKE = [line for line in command_lines() if words(line)[:1] == ["make"]]
RUNS = [line for line in command_lines() if re.search(r"(python3? -m bnsweep|^bnsweep)(\s|$)", " ".join(words(line)))]


@pytest.mark.parametrize("link", LINKS)
def test_relative_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_readme_shows_commands() -> None:
    assert MAKE
    assert RUNS


@pytest.mark.parametrize("line", MAKE)
def test_make_commands_name_targets(line: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {word for word in words(line)[1:] if "=" not in word and not word.startswith("-")}
    assert asked <= targets


def overrides(line: str) -> list[str]:
    """What follows `python -m bnsweep`, without Hydra's flags and without its own settings."""
    after = words(line)
    start = after.index("bnsweep") + 1
    given = [word for word in after[start:] if not word.startswith("-") and word not in ("job", "hydra", "all")]
    return [word for word in given if not word.lstrip("+~").startswith("hydra")]


@pytest.mark.parametrize("line", RUNS)
def test_runs_and_sweeps_compose(line: str) -> None:
    """Not the whole product of a sweep, but as many jobs as name each of its choices once, and two of its seeds."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from bnsweep.config.tree import register_schema
    from hydra_plugins.bnsweep.search_space import read_space
    from hydra_plugins.bnsweep.spaced import register_functions

    register_schema()
    register_functions()
    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        items = parser.parse_overrides(overrides(line))
        if "hydra/sweeper=optuna" in line:
            for job in read_space(items).corners():
                compose(config_name="config", overrides=job)
            return
        choices = [
            [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]
            if item.is_sweep_override()
            else [item.input_line or ""]
            for item in items
        ]
        choices = [values[:2] if values[0].startswith("seed=") else values for values in choices]
        for i in range(max((len(values) for values in choices), default=1)):
            compose(config_name="config", overrides=[values[min(i, len(values) - 1)] for values in choices])


EXPERIMENTS = sorted(set(re.findall(r"`python -m bnsweep\.experiments ([^-`][^`]*)`", TEXT)))


@pytest.mark.parametrize("line", EXPERIMENTS)
def test_commands_of_experiments_name_some_that_expect_something(line: str) -> None:
    given = shlex.split(line)
    names = [word for word in given if "=" not in word]
    assert names and Library([word for word in given if "=" in word]).chosen(names) == names
